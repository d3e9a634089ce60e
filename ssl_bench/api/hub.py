"""Upload of exported folders to the Hugging Face Hub."""

from pathlib import Path

from ssl_bench.api.graphs import first_line
from ssl_bench.api.model_card import loading
from ssl_bench.errors import UserError
from ssl_bench.files import replacing


def push(folder: str | Path, repository: str) -> str:
    """Upload an exported folder to a private repository of the Hugging Face Hub, where a token is stored.

    Args:
        folder: the exported folder.
        repository: name of the repository, ``USER/NAME``; it is made if it does not exist.

    Returns:
        The URL of the commit.

    Raises:
        UserError: there is no token, or the upload failed; the folder is kept.
    """
    from huggingface_hub import HfApi

    client, card = HfApi(), Path(folder) / "README.md"
    with replacing(card) as part:
        text = card.read_text(encoding="utf-8")
        part.write_text(text.replace(loading(Path(folder).name), loading(f"hub/{repository}")), encoding="utf-8")
    try:
        client.create_repo(repository, exist_ok=True, private=True)
        return str(client.upload_folder(folder_path=str(folder), repo_id=repository))
    except Exception as error:  # errors of the hub and of the network have no common base
        raise UserError(
            f"{folder} cannot be uploaded to {repository}: {first_line(error)}; the folder is kept, and "
            f"`hf upload {repository} {folder}` uploads it"
        ) from error


def check_token() -> None:
    """Check that a token of the Hugging Face Hub is stored.

    Raises:
        UserError: there is none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError("--push needs a token of the Hugging Face Hub: run `hf auth login`, or set HF_TOKEN")
