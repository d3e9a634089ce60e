"""Ranges of arguments, declared in the signature and checked when an object is made.

A parameter is annotated with its type and range, ``n_dis: PositiveInt = 1``, and its class or function is decorated
with `check_ranges`. The annotation is the whole declaration: the help of the command line prints it, and a test passes
a value outside every declared range. This follows scikit-learn's parameter validation.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ssl_bench.errors import UserError

T = TypeVar("T", bound="Callable[..., Any]")


@dataclass(frozen=True)
class Interval:
    """An interval of numbers.

    Args:
        low: lower bound; default no bound.
        high: upper bound; default no bound.
        closed: the bounds that belong to the interval, ``both``, ``left``, ``right`` or ``neither``; infinity never
            belongs to it.
    """

    low: float = -math.inf
    high: float = math.inf
    closed: Literal["both", "left", "right", "neither"] = "both"

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.closed in ("both", "left") else value > self.low
        below = value <= self.high if self.closed in ("both", "right") else value < self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "that is finite"
        if math.isinf(self.high):
            return f"of at least {self.low:g}" if self.closed in ("both", "left") else f"above {self.low:g}"
        brackets = {"both": "[]", "left": "[)", "right": "(]", "neither": "()"}[self.closed]
        return f"in {brackets[0]}{self.low:g}, {self.high:g}{brackets[1]}"

    __repr__ = __str__

    def outside(self) -> Iterator[float]:
        """Numbers just outside the interval, below the lower bound and above the upper bound if there is one."""
        step = 1 if float(self.low).is_integer() else 1e-3
        yield self.low - step if self.closed in ("both", "left") else self.low
        if not math.isinf(self.high):
            yield self.high + step if self.closed in ("both", "right") else self.high


PositiveInt = Annotated[int, Interval(1)]
NonNegativeInt = Annotated[int, Interval(0)]
PositiveFloat = Annotated[float, Interval(0, closed="neither")]
NonNegativeFloat = Annotated[float, Interval(0)]
UnitFloat = Annotated[float, Interval(0, 1)]
Decay = Annotated[float, Interval(0, 1, closed="left")]
"""Decay of a moving average, in [0, 1)."""


def range_of(hint: Any) -> tuple[Any, Interval] | None:
    """Type and interval of an annotation ``Annotated[type, Interval]``; None if it declares no range."""
    if get_origin(hint) is Annotated:
        kind, *metadata = get_args(hint)
        for item in metadata:
            if isinstance(item, Interval):
                return kind, item
    return None


def problem(value: Any, hint: Any) -> str | None:
    """Describe the allowed values if the annotation does not allow `value`; None if it does.

    In a union, a value must be allowed by one alternative. Tuples and lists are checked item by item.
    """
    if found := range_of(hint):
        kind, interval = found
        accepted = Integral if kind is int else Real
        if isinstance(value, accepted) and not isinstance(value, bool) and float(value) in interval:
            return None
        return f"{'an integer' if kind is int else 'a number'} {interval}"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return None if value in arguments else f"one of {', '.join(map(repr, arguments))}"
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        problems = [problem(value, one) for one in arguments if one is not NoneType]
        return None if None in problems else " or ".join(str(one) for one in problems)
    if origin in (tuple, list) and declares(hint):
        any_length = origin is list or arguments[-1] is Ellipsis
        if not isinstance(value, tuple | list) or (not any_length and len(value) != len(arguments)):
            return "a list" if any_length else f"a list of {len(arguments)} items"
        for item, one in zip(value, [arguments[0]] * len(value) if any_length else arguments, strict=True):
            if expected := problem(item, one):
                return f"a list of items, each {expected}"
    return None


def declares(hint: Any) -> bool:
    """Whether an annotation, one of its items or one of its alternatives declares a range or options."""
    return bool(range_of(hint)) or get_origin(hint) is Literal or any(declares(one) for one in get_args(hint))


def check_ranges(target: T) -> T:
    """Decorate a class or function so that it refuses arguments outside their declared ranges and options.

    For a class, the arguments of ``__init__`` are checked before it runs. A subclass that defines its own ``__init__``
    must be decorated too.

    Raises:
        UserError: an argument is out of range. The message gives the first such argument, for example ``ssgan: n_dis
            must be an integer of at least 1, got 0``. It begins with the name of the class or function. For methods and
            protocols it begins with the name of the module, by which users select them.

    Example:
        >>> @check_ranges
        ... class Pool:
        ...     def __init__(self, size: PositiveInt = 2): ...
        >>> Pool(size=0)
        Traceback (most recent call last):
        ssl_bench.errors.UserError: Pool: size must be an integer of at least 1, got 0
    """
    if isinstance(target, type):
        target.__init__ = _checked(target.__init__)  # type: ignore[misc]
        return target
    checked: Any = _checked(target)
    return checked  # type: ignore[no-any-return]


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)
    hints: dict[str, Any] = {}  # resolved at the first call, when the module is complete

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        hints.update({} if hints else get_type_hints(function, include_extras=True))
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in hints and (expected := problem(value, hints[name])):
                owner = type(args[0]) if function.__name__ == "__init__" else function
                raise UserError(f"{label(owner)}: {name} must be {expected}, got {value!r}")
        return function(*args, **kwargs)

    return checked


def label(owner: Any) -> str:
    """Name of a class or function in messages."""
    package, _, module = owner.__module__.rpartition(".")
    name: str = owner.__name__
    return module if package in ("ssl_bench.methods", "ssl_bench.evaluation.protocols") else name
