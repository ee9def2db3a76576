"""The job file: read strictly, explained where it is wrong, filled in where it is silent."""

from service.spec.errors import Problem, SpecError
from service.spec.reading import NO_FILE, load, parse
from service.spec.reference import json_schema, reference
from service.spec.schema import Spec
from service.spec.several import AnySpec, Specs

__all__ = ["NO_FILE", "AnySpec", "Problem", "Spec", "SpecError", "Specs", "json_schema", "load", "parse", "reference"]
