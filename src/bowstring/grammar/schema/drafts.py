"""Schemas of older drafts in the words of the newest one.

Source: json-schema.org, "Migrating from older drafts".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .keywords import Schema, refuse

BEFORE_2020 = ("draft-04", "draft-06", "draft-07", "2019-09")


def draft_of(root: Any) -> str:
    """The draft that a schema names; the newest where it names none."""
    said = str(root.get("$schema", "")) if isinstance(root, Mapping) else ""
    if "draft-03" in said:
        refuse("", "$schema", "draft 3 is not known here; expected draft 4 or later")
    return next((draft for draft in BEFORE_2020 if draft in said), "2020-12")


def modern(schema: Schema, draft: str, place: str) -> Schema:
    """One level of a schema in the words of 2020-12."""
    if draft == "2020-12":
        return schema
    made = dict(schema)
    if "$ref" in made and draft != "2019-09":
        return {"$ref": made["$ref"]}  # what stands beside a reference did not count
    if isinstance(made.get("items"), list):
        made["prefixItems"] = made.pop("items") or [True]
        made["items"] = made.get("additionalItems", True)
    made.pop("additionalItems", None)
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if made.get(exclusive) is True and bound in made:
            made[exclusive] = made.pop(bound)
        elif isinstance(made.get(exclusive), bool):
            del made[exclusive]
    dependencies = made.pop("dependencies", {})
    if not isinstance(dependencies, Mapping):
        refuse(place, "dependencies", "expected an object")
    for name, needed in dependencies.items():
        keyword = "dependentRequired" if isinstance(needed, list) else "dependentSchemas"
        made[keyword] = {**made.get(keyword, {}), name: needed}
    return made
