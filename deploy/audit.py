"""Audits the roles of a deployed stack: by the calls of expected_access.py, and by the template of the stack, each of whose
statements must be in effect and beyond which nothing may be allowed.

`deploy/check` verifies that the template itself grants exactly the permissions that the code needs.
"""

import itertools

import policy_evaluator as iam
from live_policies import PolicyRecord, Policies, Reader, ReadDenied, PolicyView
from expected_access import DECODERS, ALL_PRINCIPALS, OTHER_ACCOUNT, PolicySimulator, expected_rows

WIDE, NARROW = "role_too_wide", "role_too_narrow"
# Allows everything, for callers of which only a gate is evaluated.
ALLOW_ALL_POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
DEPLOY = "cargo xtask deploy"
RECREATE_HINT = "restore it with a drift-aware change set of the stack"


def fill_wildcards(pattern: str) -> str:
    """A text that matches the pattern, and as few other patterns as possible."""
    return pattern.replace("*", "anything").replace("?", "a")


def satisfying_value(operator: str, value: str) -> str | None:
    """A value of the key that satisfies the condition; None if the key must be absent."""
    match operator.removesuffix("IfExists"):
        case "Null":
            return None if value.lower() == "true" else "anything"
        case "StringLike" | "ArnLike" | "ArnEquals":
            return fill_wildcards(value)
        case "NumericLessThan":
            return str(float(value) - 1)
        case "NumericGreaterThan":
            return str(float(value) + 1)
        case "StringNotEquals" | "StringNotLike" | "ArnNotEquals" | "ArnNotLike":
            return "anything"
        case _:
            return value


def example_calls(statement: dict):
    """Calls that a statement applies to, at least one for each action, resource and condition value."""
    keys = [(key, [satisfying_value(operator, str(value)) for value in iam.as_list(values)])
            for operator, about in statement.get("Condition", {}).items() for key, values in about.items()]
    for action in iam.as_list(statement.get("Action", "anything:Anything")):
        for resource in iam.as_list(statement.get("Resource", "anything")):
            for values in itertools.product(*(values for _, values in keys)):
                context = {key: value for (key, _), value in zip(keys, values, strict=True) if value is not None}
                yield fill_wildcards(action), fill_wildcards(resource), context


def principals_of(statement: dict) -> set[str]:
    """The principals of a resource policy's statement; `*` is any principal."""
    principal = statement.get("Principal", "*")
    return {"*"} if principal == "*" else {name for names in principal.values() for name in iam.as_list(names)}


class Audit:
    """Compares the policies in effect with the required ones."""

    def __init__(self, wanted: Policies, actual: Policies) -> None:
        self.wanted, self.actual, self.deployed = wanted, actual, actual.deployed
        self.account = self.deployed.substitutions["account"]
        # The endpoint policy is ignored when checking for roles that are too wide, and applied when checking for too narrow ones.
        self.wide, self.narrow = PolicySimulator(PolicyView(actual, False, False)), PolicySimulator(PolicyView(actual, True, True))
        self.template = {issue: PolicySimulator(PolicyView(wanted, True, issue == NARROW)) for issue in (WIDE, NARROW)}
        self.fixes = {one.label: one.fix_command for one in actual.documents()} | {one.label: one.fix_command for one in wanted.documents()}
        self.name_by_resource = {logical: who for who, logical in reversed(ALL_PRINCIPALS.items())}
        self.shared = {one.label for by_name in actual.of.values() for documents in by_name.values() for one in documents}
        self.found: dict[tuple, dict] = {}

    def report(self, issue: str, holder: str, call: tuple[str, str, dict], statement: str, how: str, fix_command: str | None = None) -> None:
        """Records a finding once per policy, or per policy and principal: further calls are counted."""
        policy = statement.rpartition(", statement ")[0] or statement
        key = (issue, policy) if policy in self.shared else (issue, policy, holder)
        if known := self.found.get(key):
            known["more"] += 1
            return
        action, resource, context = call
        saying = ", ".join(f"{key}={value}" for key, value in sorted(context.items()))
        verb, ending = ("is", "must be denied") if issue == WIDE else ("is not", "is required")
        self.found[key] = {
            "issue": issue, "more": 0, "fix_command": fix_command or self.fix_command(statement),
            "observed": f"{holder} {verb} allowed to call {action} on {resource}" + (f" ({saying})" if saying else "")
            + f", which {ending}: {how}"}

    def fix_command(self, statement: str) -> str:
        policy, _, name = statement.rpartition(", statement ")
        command = self.fixes.get(policy or statement, DEPLOY)
        return f"{command} {name}" if command.endswith("--statement-id") else command

    def holder(self, who: str) -> str:
        return self.deployed.lookup(ALL_PRINCIPALS[who]) if who in ALL_PRINCIPALS else ("any principal" if who == OTHER_ACCOUNT else who)

    def report_too_wide(self, who: str, call: tuple[str, str, dict], why: str) -> None:
        statement = why.removeprefix("allowed by ")
        before = self.template[WIDE].simulate(who, *call)
        if before.why.startswith("denied by "):
            denial = before.why.removeprefix("denied by ")
            self.report(WIDE, self.holder(who), call, denial, f"{denial}, a Deny statement, is not in effect")
            return
        # If the template allows the call too, it is of another version than expected_access.py.
        self.report(WIDE, self.holder(who), call, statement, f"allowed by {statement}", DEPLOY if before.allowed else None)

    def report_too_narrow(self, who: str, call: tuple[str, str, dict], why: str) -> None:
        granted = self.template[NARROW].simulate(who, *call)
        if not granted.allowed:
            self.report(NARROW, self.holder(who), call, "the template", f"{why}, and not allowed by the stack's template", DEPLOY)
        elif why == "not allowed by any policy":
            statement = granted.why.removeprefix("allowed by ")
            self.report(NARROW, self.holder(who), call, statement, f"{statement}, is not in effect")
        else:
            statement = why.removeprefix("denied by ").removeprefix("blocked by ")
            self.report(NARROW, self.holder(who), call, statement, why)

    def run(self) -> None:
        for by_name in self.actual.of.values():
            for documents in by_name.values():
                self.check_no_outsiders(documents)
        self.check_expected_rows()
        for name, documents in self.wanted.identity.items():
            # A role that this version does not know has no entry in expected_access.py.
            if who := self.name_by_resource.get(name):
                self.check_in_force(who, documents)
                self.check_nothing_extra(who, self.actual.identity[name])
        for by_name in self.wanted.of.values():
            for documents in by_name.values():
                self.check_in_force(None, documents)
        self.check_trust()
        self.check_endpoints()

    def check_expected_rows(self) -> None:
        needed, forbidden = expected_rows(self.deployed)
        for wanted, judge, calls in ((True, self.narrow, needed), (False, self.wide, forbidden)):
            for who, action, of, context in calls:
                context = {key: value.format(**self.deployed.substitutions) for key, value in context.items()}
                call = (action, judge.resource(action, of), context)
                decision = judge.simulate(who, *call)
                if decision.allowed != wanted:
                    (self.report_too_narrow if wanted else self.report_too_wide)(who, call, decision.why)

    def check_in_force(self, who: str | None, documents: list[PolicyRecord]) -> None:
        """Checks that each statement of the template is in effect."""
        for document in documents:
            for statement in document.readable(True)["Statement"]:
                speaking = [who] if who else [OTHER_ACCOUNT if name == "*" else name for name in principals_of(statement)]
                for name, call in itertools.product(speaking, example_calls(statement)):
                    if statement["Effect"] == "Allow":
                        decision = self.narrow.simulate(name, *call)
                        if not decision.allowed and self.template[NARROW].simulate(name, *call).allowed:
                            self.report_too_narrow(name, call, decision.why)
                    elif not self.wide.simulate(name, *call).why.startswith("denied by"):
                        self.report(WIDE, self.holder(name) if who else "any principal allowed by another policy", call, statement["Sid"],
                                  f"{statement['Sid']}, a Deny statement, is not in effect")

    def check_nothing_extra(self, who: str, documents: list[PolicyRecord]) -> None:
        """Checks that nothing is allowed beyond the template."""
        for document in documents:
            for statement in document.readable(False)["Statement"]:
                beside = (call for call in example_calls(statement) if statement["Effect"] == "Allow"
                          and not self.template[WIDE].simulate(who, *call).allowed and self.wide.simulate(who, *call).allowed)
                for call in itertools.islice(beside, 1):
                    self.report(WIDE, self.holder(who), call, statement["Sid"], f"allowed by {statement['Sid']}")

    def check_no_outsiders(self, documents: list[PolicyRecord]) -> None:
        """Checks that no bucket, queue or function admits principals of another account. Services are excluded."""
        for document in documents:
            for statement in document.readable(False)["Statement"]:
                conditions = [iam.as_list(values) for keys in statement.get("Condition", {}).values() for values in keys.values()]
                if statement["Effect"] == "Deny" or any(self.account in values for values in conditions):
                    continue
                for name in principals_of(statement):
                    if name.endswith(".amazonaws.com") or self.account in name:
                        continue
                    who = OTHER_ACCOUNT if name == "*" else name
                    for call in example_calls(statement):
                        if self.wide.simulate(who, *call).allowed and not self.template[WIDE].simulate(who, *call).allowed:
                            self.report(WIDE, self.holder(who), call, statement["Sid"], f"allowed by {statement['Sid']}")

    def check_trust(self) -> None:
        """Checks that the roles trust exactly the required principals."""
        for name, wanted in self.wanted.trusts.items():
            actual, arn = self.actual.trusts[name], self.deployed.lookup(name, "Arn")
            call = ("sts:AssumeRole", arn, {})
            known = {who for statement in wanted.readable(True)["Statement"] for who in principals_of(statement)}
            for statement in actual.readable(False)["Statement"]:
                others = principals_of(statement) - known if statement["Effect"] == "Allow" else set()
                for who in sorted(others):
                    self.report(WIDE, "any principal" if who == "*" else who, call, statement["Sid"], f"allowed by {statement['Sid']}")
            for who in known:
                context = {"aws:SourceAccount": self.account}
                decision = iam.decide(who, "sts:AssumeRole", arn, context, [], [actual.readable(True)])
                if not decision.allowed:
                    self.report(NARROW, who, call, wanted.label, f"{wanted.label} does not trust it")

    def check_endpoints(self) -> None:
        """Checks that the functions' network reaches the bucket and nothing else."""
        for name, documents in self.actual.ways.items():
            before = [document.readable(True) for document in self.wanted.ways[name]]
            after = [document.readable(False) for document in documents]
            decoders = [self.deployed.lookup(ALL_PRINCIPALS[who], "Arn") for who in DECODERS if ALL_PRINCIPALS[who] in self.deployed.resources]
            for statement in (statement for gate in after for statement in gate["Statement"] if statement["Effect"] == "Allow"):
                for who, call in itertools.product([*decoders, OTHER_ACCOUNT], example_calls(statement)):
                    new, old = (iam.decide(who, *call, [ALLOW_ALL_POLICY], [], gates) for gates in (after, before))
                    if new.allowed and not old.allowed:
                        self.report(WIDE, "the network of the functions", call, statement["Sid"], f"allowed by {statement['Sid']}")


def audit(reader: Reader, stack: str) -> dict:
    """Returns the findings, causes first, and the denied reads."""
    try:
        deployed = reader.deployed(stack)
    except ReadDenied:
        return {"checked": [], "findings": [], "unseen": reader.unseen, "remarks": []}
    wanted, actual = Policies(deployed), Policies(deployed)
    actual.read(reader)
    rights = Audit(wanted, actual)
    rights.run()
    found = list(rights.found.values())
    gone = [{"issue": NARROW, "more": 0, "fix_command": None, "observed": f"{known} is missing: {RECREATE_HINT}"} for known in actual.gone]
    ordered = gone + [one for one in found if one["issue"] == NARROW] + [one for one in found if one["issue"] == WIDE]
    remarks = [remark for document in actual.documents() for remark in document.remarks()]
    checked = [deployed.lookup(name) for name in actual.checked]
    return {"checked": checked, "findings": ordered, "unseen": reader.unseen, "remarks": remarks}
