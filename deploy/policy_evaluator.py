"""Evaluates whether IAM would allow a call, by the documented rules: a Deny wins; otherwise an Allow is required.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html

Takes policies and returns a decision with its reason. Unsupported input is an error, never an Allow: a new operator or
element in template.yaml must be implemented here first. Supports one account, without an organization.
"""

import re
from functools import cache

ELEMENTS = {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def matches(pattern: str, text: str, fold: bool = False) -> bool:
    """Matches IAM's wildcards: `*` is any text, including slashes, `?` is one character."""
    return compile_pattern(pattern, fold).fullmatch(text) is not None


@cache
def compile_pattern(pattern: str, fold: bool) -> re.Pattern:
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if fold else 0))


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
# Met if no value matches; a missing key matches no value.
NEGATIONS = {"StringNotEquals": "StringEquals", "StringNotLike": "StringLike", "ArnNotEquals": "ArnEquals",
             "ArnNotLike": "ArnLike"}


def is_supported_operator(operator: str) -> bool:
    return operator == "Null" or operator.removesuffix("IfExists") in OPERATORS | NEGATIONS


def condition_matches(condition: dict, context: dict[str, str]) -> bool:
    """Every operator and key must match one of its values. A missing key satisfies only `…IfExists` and negations. Keys are
    case-insensitive."""
    context = {key.lower(): value for key, value in context.items()}
    for name, keys in condition.items():
        operator = name.removesuffix("IfExists")
        if not is_supported_operator(name):
            raise ValueError(f"unsupported operator {name}")
        for key, values in keys.items():
            found, values = context.get(key.lower()), [str(value) for value in as_list(values)]
            if operator == "Null":
                good = any((value.lower() == "true") == (found is None) for value in values)
            elif operator in NEGATIONS:
                good = found is None or not any(OPERATORS[NEGATIONS[operator]](value, found) for value in values)
            elif found is None:
                good = name.endswith("IfExists")
            else:
                good = any(OPERATORS[operator](value, found) for value in values)
            if not good:
                return False
    return True


def applies_to(statement: dict, action: str, resource: str) -> bool:
    def element_matches(element: str, text: str, fold: bool) -> bool:
        if element in statement:
            return any(matches(wanted, text, fold) for wanted in as_list(statement[element]))
        return not any(matches(wanted, text, fold) for wanted in as_list(statement[f"Not{element}"]))

    return element_matches("Action", action, True) and element_matches("Resource", resource, False)


def matches_principal(statement: dict, who: str) -> bool:
    """Whether a resource policy's statement applies to `who`: the ARN of a user or role, or the name of a service. A Deny for
    an account applies to its users and roles; an Allow applies to them only through their own policies."""
    principal = statement.get("Principal", statement.get("NotPrincipal"))
    if principal != "*":
        names = {name for kind in principal.values() for name in as_list(kind)}
        account = who.split(":")[4] if who.startswith("arn:") else None
        of_account = account and statement["Effect"] == "Deny" and names & {account, f"{who.split(':iam:')[0]}:iam::{account}:root"}
        found = "*" in names or who in names or bool(of_account)
    else:
        found = True
    return found == ("Principal" in statement)


class Decision:
    def __init__(self, allowed: bool, why: str) -> None:
        self.allowed, self.why = allowed, why


def statements(policy: dict) -> list[dict]:
    if policy.get("Version") != "2012-10-17":
        raise ValueError("unsupported policy version")
    found = as_list(policy["Statement"])
    for statement in found:
        strange = set(statement) - ELEMENTS
        if strange or statement["Effect"] not in ("Allow", "Deny"):
            raise ValueError(f"{statement.get('Sid')}: unsupported {strange or statement['Effect']}")
    return found


def decide(who: str, action: str, resource: str, context: dict[str, str], identity: list[dict], resource_policies: list[dict],
           gates: list[dict] = ()) -> Decision:
    """`identity` are the caller's own policies, `resource_policies` those of the requested resource, and `gates` policies that must
    all allow the call too: those of an endpoint, a permissions boundary."""
    context = {"aws:PrincipalArn": who, "aws:SecureTransport": "true", "s3:TlsVersion": "1.3"} | context
    applicable = []
    for policy in identity:
        applicable += [statement for statement in statements(policy)]
    for policy in resource_policies:
        applicable += [statement for statement in statements(policy) if matches_principal(statement, who)]
    applicable = [s for s in applicable if applies_to(s, action, resource) and condition_matches(s.get("Condition", {}), context)]
    denied = [s.get("Sid", "?") for s in applicable if s["Effect"] == "Deny"]
    if denied:
        return Decision(False, f"denied by {denied[0]}")
    for gate in gates:
        open_for = [s for s in statements(gate) if matches_principal(s, who) and applies_to(s, action, resource)
                    and condition_matches(s.get("Condition", {}), context)]
        if not open_for or any(s["Effect"] == "Deny" for s in open_for):
            return Decision(False, f"blocked by {gate.get('Id', 'the endpoint of the network')}")
    allowed = [s.get("Sid", "?") for s in applicable if s["Effect"] == "Allow"]
    return Decision(bool(allowed), f"allowed by {allowed[0]}" if allowed else "not allowed by any policy")
