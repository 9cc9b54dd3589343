"""YAML read the one safe and quick way: C loader, no objects, no dates out of text, no key twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml


class _Loader(yaml.CSafeLoader):
    """The C safe loader, with time stamps left as text and duplicate keys refused."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
                if key_node.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key_node.value!r} is there twice", key_node.start_mark
                    )
                seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load(text: str | bytes) -> Any:
    """Return the one document in ``text`` as plain dicts, lists and scalars.

    Raises:
        ValueError: Not YAML, more than one document, or a key twice; the message starts with ``line:column``
            where the parser knows it.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{mark.line + 1}:{mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem or error.context or 'not YAML'}") from error
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(str(error).splitlines()[0]) from error
