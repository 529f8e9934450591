"""Decides whether IAM would let a call through, by the documented rules: a denial wins, else somebody has to allow it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html

Policies in, an answer with its reason out. What is not understood is an error, never a yes: a new operator or element in
template.yaml has to be taught here first. One account; no permission boundaries, no organisation.
"""

import re

ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


def matches(pattern: str, text: str, fold: bool = False) -> bool:
    """IAM's wildcards: `*` is any text, slashes included, `?` one character."""
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch(expression, text, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


def number(test):
    return lambda wanted, found: test(float(found), float(wanted))


OPERATORS = {
    "StringEquals": lambda wanted, found: wanted == found,
    "StringLike": matches,
    "ArnEquals": matches,
    "ArnLike": matches,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
    "NumericLessThan": number(lambda found, wanted: found < wanted),
    "NumericGreaterThan": number(lambda found, wanted: found > wanted),
}


def holds(condition: dict, context: dict[str, str]) -> bool:
    """Every operator and key has to hold, by one of its values. A key that the call does not have holds for `…IfExists`
    alone."""
    for name, keys in condition.items():
        operator = name.removesuffix("IfExists")
        if operator not in OPERATORS:
            raise ValueError(f"the operator {name} is not known here")
        for key, values in keys.items():
            found = context.get(key)
            if found is None:
                if name.endswith("IfExists"):
                    continue
                return False
            if not any(OPERATORS[operator](str(value), found) for value in listed(values)):
                return False
    return True


def speaks_of(statement: dict, action: str, resource: str) -> bool:
    return any(matches(wanted, action, fold=True) for wanted in listed(statement["Action"])) and any(
        matches(wanted, resource) for wanted in listed(statement["Resource"]))


def is_named(principal, who: str) -> bool:
    """Whether a resource's policy speaks to `who`: the ARN of a user or role, or the name of a service."""
    if principal == "*":
        return True
    names = [name for kind in principal.values() for name in listed(kind)]
    return "*" in names or who in names


class Decision:
    def __init__(self, allowed: bool, why: str) -> None:
        self.allowed, self.why = allowed, why


def statements(policy: dict) -> list[dict]:
    if policy.get("Version") != "2012-10-17":
        raise ValueError("a policy of an old version")
    found = listed(policy["Statement"])
    for statement in found:
        strange = set(statement) - ELEMENTS
        if strange or statement["Effect"] not in ("Allow", "Deny"):
            raise ValueError(f"{statement.get('Sid')}: {strange or statement['Effect']} is not known here")
    return found


def decide(who: str, action: str, resource: str, context: dict[str, str], identity: list[dict], of_resource: list[dict],
           gates: list[dict] = ()) -> Decision:
    """`identity` are the caller's own policies, `of_resource` those of what is asked for, and `gates` those that have to
    allow the call besides, each of them: an endpoint's."""
    context = {"aws:PrincipalArn": who, "aws:SecureTransport": "true", "s3:TlsVersion": "1.3"} | context
    said = []
    for policy in identity:
        said += [statement for statement in statements(policy)]
    for policy in of_resource:
        said += [statement for statement in statements(policy) if is_named(statement["Principal"], who)]
    said = [s for s in said if speaks_of(s, action, resource) and holds(s.get("Condition", {}), context)]
    denied = [s.get("Sid", "?") for s in said if s["Effect"] == "Deny"]
    if denied:
        return Decision(False, f"denied by {denied[0]}")
    for gate in gates:
        open_for = [s for s in statements(gate) if is_named(s["Principal"], who) and speaks_of(s, action, resource)
                    and holds(s.get("Condition", {}), context)]
        if not open_for or any(s["Effect"] == "Deny" for s in open_for):
            return Decision(False, "the network's endpoint lets it not through")
    allowed = [s.get("Sid", "?") for s in said if s["Effect"] == "Allow"]
    return Decision(bool(allowed), f"allowed by {allowed[0]}" if allowed else "allowed by nothing")
