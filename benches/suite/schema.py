"""Tables in TOML: what their keys may be, and what is said of one that is not so."""

import re
import tomllib

from suite.machine import CannotRun

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 30 * 86400  # seconds: of a soak


class PlanError(CannotRun):
    """What is wrong with a file or a command line, in one sentence."""

    code = 2


def whole(least, most):
    """A whole number."""
    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value
    return check, f"a whole number from {least:,} to {most:,}"


def number(least, most, unit):
    """A number with or without a fraction."""
    def check(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ValueError
        return value
    return check, f"a number of {unit} from {least:,} to {most:,}"


def text(pattern, what):
    """A text of a certain form."""
    def check(value):
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError
        return value
    return check, what


def seconds_of(value):
    """Seconds, from a number or a text such as 90s, 30m, 8h or 2d."""
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value)
        if not found:
            raise ValueError
        value = float(found[1]) * UNITS[found[2]]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= LONGEST:
        raise ValueError
    return value


def list_of(fits, what, *words):
    """A list of different texts that fit, or one of the words that stand for a list."""
    def check(value):
        if value in words:
            return value
        good = isinstance(value, list) and value and all(isinstance(one, str) and fits(one) for one in value)
        if not good or len(set(value)) < len(value):
            raise ValueError
        return value
    return check, f"a list of different {what}" + "".join(f', or "{word}"' for word in words)


def some_of(names, *words):
    """A list of some of these, or one of the words that stand for a list."""
    return list_of(names.__contains__, f"ones of {', '.join(names)}", *words)


def one_of(*values):
    """One of these, and nothing else."""
    def check(value):
        if value not in values or isinstance(value, bool) != isinstance(values[0], bool):
            raise ValueError
        return value
    return check, "one of " + ", ".join(str(value).lower() if isinstance(value, bool) else f'"{value}"'
                                        for value in values)


def counts(least, most):
    """A number of connections, or several in the order in which they are measured."""
    single, _ = whole(least, most)

    def check(value):
        values = value if isinstance(value, list) else [value]
        if not values or len(set(map(str, values))) < len(values):
            raise ValueError
        return [single(one) for one in values]
    return check, f"a whole number from {least:,} to {most:,}, or a list of different ones"


def options_list():
    """More arguments of a program."""
    def check(value):
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError
        return value
    return check, "a list of texts"


def check_of(kind, value):
    """A value of this type."""
    if not isinstance(value, kind):
        raise ValueError
    return value


def truth():
    """True or false."""
    return (lambda value: check_of(bool, value)), "true or false"


def mapping(*keys):
    """A table with some of these keys; values are texts or lists of texts."""
    def check(value):
        for key, one in check_of(dict, value).items():
            texts = one if isinstance(one, list) else [one]
            if key not in keys or not all(isinstance(text, str) for text in texts):
                raise ValueError
        return value
    return check, f"a table with the keys {', '.join(keys)}"


def read(path):
    """The table of a file."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: no TOML: {error}") from None


def take(path, where, table, keys):
    """The values of a table with what stands for those that are missing."""
    found = {}
    for key, value in table.items():
        if key not in keys:
            raise PlanError(f"{path}: {where}there is no key `{key}`; known are: {', '.join(keys)}")
        (check, allowed), _ = keys[key]
        try:
            found[key] = check(value)
        except (ValueError, TypeError):
            shown = value if not isinstance(value, str) else f'"{value}"'
            raise PlanError(f"{path}: {where}key `{key}`: {shown} is not allowed; it is {allowed}") from None
    return {**{key: default for key, (_, default) in keys.items()}, **found}
