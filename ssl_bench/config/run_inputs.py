"""The data module and the views of a recorded run, without its method."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from ssl_bench.data.module import DataModule
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.trust import enforce, refused, require_classes


def data_and_views(config: dict[str, Any], folder: Path) -> tuple[DataModule, Views]:
    """Build data and views; no file of the data is read.

    Args:
        config: resolved configuration of the run.
        folder: the run folder, for messages.

    Raises:
        UserError: they cannot be built.
    """
    enforce()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data", required=True)
    parser.add_class_arguments(Views, "views")
    for name in ("image_shape", "mean", "std"):
        parser.link_arguments(f"data.{name}", f"views.{name}", apply_on="instantiate")
    try:
        parsed = parser.parse_object({name: config[name] for name in ("data", "views")})
        require_classes(parsed)
        built = parser.instantiate(parsed)
    except UserError:
        raise
    except (ArgumentError, ValueError) as error:
        if denied := refused(str(error)):
            raise UserError(f"{folder / 'config.yaml'} {denied}") from error
        raise UserError(f"{folder}: its data or views cannot be built: {' '.join(str(error).split())}") from error
    return built.data, built.views
