"""Decides whether the roles of a deployed stack are too wide or too narrow: by the calls of permissions.py, and by the
template that the stack was made from, each of whose statements has to be in force and beside which nothing may be allowed.

That the template itself is neither is proved by `deploy/check`, so what it grants is what the code was seen to need.
"""

import itertools

import iam
from inforce import Document, Policies, Reader, Unseen, View
from permissions import DECODERS, EVERYBODY, STRANGER, Judge, rows

WIDE, NARROW = "role_too_wide", "role_too_narrow"
# Allows everything, to whom only a gate is asked about.
ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
DEPLOY = "cargo xtask deploy"
AGAIN = "a drift-aware change set of the stack makes it again"


def filled(pattern: str) -> str:
    """A text that the pattern fits, and as few others as can be."""
    return pattern.replace("*", "anything").replace("?", "a")


def witnesses(operator: str, value: str) -> str | None:
    """What a key may be, so that the condition holds; None: it has to be absent."""
    match operator.removesuffix("IfExists"):
        case "Null":
            return None if value.lower() == "true" else "anything"
        case "StringLike" | "ArnLike" | "ArnEquals":
            return filled(value)
        case "NumericLessThan":
            return str(float(value) - 1)
        case "NumericGreaterThan":
            return str(float(value) + 1)
        case "StringNotEquals" | "StringNotLike" | "ArnNotEquals" | "ArnNotLike":
            return "anything"
        case _:
            return value


def calls_of(statement: dict):
    """Calls that a statement speaks of, one at least for each action, resource and value of a condition."""
    keys = [(key, [witnesses(operator, str(value)) for value in iam.listed(values)])
            for operator, about in statement.get("Condition", {}).items() for key, values in about.items()]
    for action in iam.listed(statement.get("Action", "anything:Anything")):
        for resource in iam.listed(statement.get("Resource", "anything")):
            for values in itertools.product(*(values for _, values in keys)):
                context = {key: value for (key, _), value in zip(keys, values, strict=True) if value is not None}
                yield filled(action), filled(resource), context


def principals_of(statement: dict) -> set[str]:
    """Whom a resource's statement names; `*` is anybody."""
    principal = statement.get("Principal", "*")
    return {"*"} if principal == "*" else {name for names in principal.values() for name in iam.listed(names)}


class Rights:
    """What is in force beside what has to be."""

    def __init__(self, wanted: Policies, actual: Policies) -> None:
        self.wanted, self.actual, self.deployed = wanted, actual, actual.deployed
        self.account = self.deployed.place["account"]
        # A role is too wide whatever its network lets through, and too narrow if that does not.
        self.wide, self.narrow = Judge(View(actual, False, False)), Judge(View(actual, True, True))
        self.template = {ill: Judge(View(wanted, True, ill == NARROW)) for ill in (WIDE, NARROW)}
        self.cures = {one.label: one.cure for one in actual.documents()} | {one.label: one.cure for one in wanted.documents()}
        self.whose = {logical: who for who, logical in reversed(EVERYBODY.items())}
        self.shared = {one.label for by_name in actual.of.values() for documents in by_name.values() for one in documents}
        self.found: dict[tuple, dict] = {}

    def note(self, ill: str, holder: str, call: tuple[str, str, dict], statement: str, how: str, cure: str | None = None) -> None:
        """Once for each policy, or for each one of somebody: what comes after the first call is counted."""
        policy = statement.rpartition(", statement ")[0] or statement
        key = (ill, policy) if policy in self.shared else (ill, policy, holder)
        if known := self.found.get(key):
            known["more"] += 1
            return
        action, resource, context = call
        saying = ", ".join(f"{key}={value}" for key, value in sorted(context.items()))
        verb = "may and must not" if ill == WIDE else "may not and has to"
        self.found[key] = {
            "ill": ill, "more": 0, "cure": cure or self.cure(statement),
            "seen": f"{holder} {verb} {action} {resource}" + (f" ({saying})" if saying else "") + f": {how}"}

    def cure(self, statement: str) -> str:
        policy, _, name = statement.rpartition(", statement ")
        command = self.cures.get(policy or statement, DEPLOY)
        return f"{command} {name}" if command.endswith("--statement-id") else command

    def holder(self, who: str) -> str:
        return self.deployed.named(EVERYBODY[who]) if who in EVERYBODY else ("a stranger" if who == STRANGER else who)

    def too_wide(self, who: str, call: tuple[str, str, dict], why: str) -> None:
        statement = why.removeprefix("allowed by ")
        before = self.template[WIDE].ask(who, *call)
        if before.why.startswith("denied by "):
            denial = before.why.removeprefix("denied by ")
            self.note(WIDE, self.holder(who), call, denial, f"{denial}, a denial, is not in force")
            return
        # What the template allows, too, is of another version than the calls of permissions.py.
        self.note(WIDE, self.holder(who), call, statement, f"by {statement}", DEPLOY if before.allowed else None)

    def too_narrow(self, who: str, call: tuple[str, str, dict], why: str) -> None:
        granted = self.template[NARROW].ask(who, *call)
        if not granted.allowed:
            self.note(NARROW, self.holder(who), call, "the template", f"{why}, nor in the template of the stack", DEPLOY)
        elif why == "allowed by nothing":
            statement = granted.why.removeprefix("allowed by ")
            self.note(NARROW, self.holder(who), call, statement, f"{statement}, is not in force")
        else:
            statement = why.removeprefix("denied by ").removeprefix("not let through by ")
            self.note(NARROW, self.holder(who), call, statement, why)

    def examine(self) -> None:
        for by_name in self.actual.of.values():
            for documents in by_name.values():
                self.no_outsiders(documents)
        self.by_rows()
        for name, documents in self.wanted.identity.items():
            # A role that this version does not know has nobody to be judged as.
            if who := self.whose.get(name):
                self.is_in_force(who, documents)
                self.nothing_beside(who, self.actual.identity[name])
        for by_name in self.wanted.of.values():
            for documents in by_name.values():
                self.is_in_force(None, documents)
        self.trusts()
        self.ways()

    def by_rows(self) -> None:
        needed, forbidden = rows(self.deployed)
        for wanted, judge, calls in ((True, self.narrow, needed), (False, self.wide, forbidden)):
            for who, action, of, context in calls:
                context = {key: value.format(**self.deployed.place) for key, value in context.items()}
                call = (action, judge.resource(action, of), context)
                decision = judge.ask(who, *call)
                if decision.allowed != wanted:
                    (self.too_narrow if wanted else self.too_wide)(who, call, decision.why)

    def is_in_force(self, who: str | None, documents: list[Document]) -> None:
        """Whether each statement of the template is."""
        for document in documents:
            for statement in document.readable(True)["Statement"]:
                speaking = [who] if who else [STRANGER if name == "*" else name for name in principals_of(statement)]
                for name, call in itertools.product(speaking, calls_of(statement)):
                    if statement["Effect"] == "Allow":
                        decision = self.narrow.ask(name, *call)
                        if not decision.allowed and self.template[NARROW].ask(name, *call).allowed:
                            self.too_narrow(name, call, decision.why)
                    elif not self.wide.ask(name, *call).why.startswith("denied by"):
                        self.note(WIDE, self.holder(name) if who else "whoever is allowed otherwise", call, statement["Sid"],
                                  f"{statement['Sid']}, a denial, is not in force")

    def nothing_beside(self, who: str, documents: list[Document]) -> None:
        """Whether nothing is allowed that the template does not."""
        for document in documents:
            for statement in document.readable(False)["Statement"]:
                beside = (call for call in calls_of(statement) if statement["Effect"] == "Allow"
                          and not self.template[WIDE].ask(who, *call).allowed and self.wide.ask(who, *call).allowed)
                for call in itertools.islice(beside, 1):
                    self.note(WIDE, self.holder(who), call, statement["Sid"], f"by {statement['Sid']}")

    def no_outsiders(self, documents: list[Document]) -> None:
        """Whether a bucket, queue or function lets nobody of another account in. Services are no people."""
        for document in documents:
            for statement in document.readable(False)["Statement"]:
                conditions = [iam.listed(values) for keys in statement.get("Condition", {}).values() for values in keys.values()]
                if statement["Effect"] == "Deny" or any(self.account in values for values in conditions):
                    continue
                for name in principals_of(statement):
                    if name.endswith(".amazonaws.com") or self.account in name:
                        continue
                    who = STRANGER if name == "*" else name
                    for call in calls_of(statement):
                        if self.wide.ask(who, *call).allowed and not self.template[WIDE].ask(who, *call).allowed:
                            self.note(WIDE, self.holder(who), call, statement["Sid"], f"by {statement['Sid']}")

    def trusts(self) -> None:
        """Whether whoever takes a role on is who has to, and nobody else."""
        for name, wanted in self.wanted.trusts.items():
            actual, role, arn = self.actual.trusts[name], self.deployed.named(name), self.deployed.named(name, "Arn")
            call = ("sts:AssumeRole", arn, {})
            known = {who for statement in wanted.readable(True)["Statement"] for who in principals_of(statement)}
            for statement in actual.readable(False)["Statement"]:
                others = principals_of(statement) - known if statement["Effect"] == "Allow" else set()
                for who in sorted(others):
                    self.note(WIDE, "anybody" if who == "*" else who, call, statement["Sid"], f"by {statement['Sid']}")
            for who in known:
                context = {"aws:SourceAccount": self.account}
                decision = iam.decide(who, "sts:AssumeRole", arn, context, [], [actual.readable(True)])
                if not decision.allowed:
                    self.note(NARROW, who, call, wanted.label, f"{role} is not trusted to it by {wanted.label}")

    def ways(self) -> None:
        """Whether the functions' network leads to the bucket and nowhere else."""
        for name, documents in self.actual.ways.items():
            before = [document.readable(True) for document in self.wanted.ways[name]]
            after = [document.readable(False) for document in documents]
            decoders = [self.deployed.named(EVERYBODY[who], "Arn") for who in DECODERS if EVERYBODY[who] in self.deployed.resources]
            for statement in (statement for gate in after for statement in gate["Statement"] if statement["Effect"] == "Allow"):
                for who, call in itertools.product([*decoders, STRANGER], calls_of(statement)):
                    new, old = (iam.decide(who, *call, [ANYTHING], [], gates) for gates in (after, before))
                    if new.allowed and not old.allowed:
                        self.note(WIDE, "the network of the functions", call, statement["Sid"], f"by {statement['Sid']}")


def look(reader: Reader, stack: str) -> dict:
    """What is wrong, what causes something first; and what was not seen."""
    try:
        deployed = reader.deployed(stack)
    except Unseen:
        return {"looked": [], "findings": [], "unseen": reader.unseen, "remarks": []}
    wanted, actual = Policies(deployed), Policies(deployed)
    actual.read(reader)
    rights = Rights(wanted, actual)
    rights.examine()
    found = list(rights.found.values())
    gone = [{"ill": NARROW, "more": 0, "cure": None, "seen": f"{known} is not there any more: {AGAIN}"} for known in actual.gone]
    ordered = gone + [one for one in found if one["ill"] == NARROW] + [one for one in found if one["ill"] == WIDE]
    remarks = [remark for document in actual.documents() for remark in document.remarks()]
    looked = [deployed.named(name) for name in actual.seen]
    return {"looked": looked, "findings": ordered, "unseen": reader.unseen, "remarks": remarks}
