"""Deploys the stack's roles to moto and changes them outside of CloudFormation in various ways. Checks that `deploy/account
roles` reports exactly the changes, and that the commands that it prints undo them.
"""

import json
import logging
import os
import shlex
import warnings
from collections.abc import Callable

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

import policy_evaluator as evaluate
import audit
from live_policies import DeployedStack, Policies, Reader
from test_moto import put_artifacts, moto_template
from expected_access import WORKFLOW_PARAMETERS, NOTIFY_PARAMETERS
from audit import NARROW, WIDE
from template import REGION, TEST_PARAMETERS, STACK, TEMPLATE, Stack

ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
OUTSIDER = "arn:aws:iam::111122223333:root"
MANAGED = "arn:aws:iam::aws:policy/{}"


class MotoAccount:
    """A moto account that contains the stack as CloudFormation would create it."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self.stack, self.session, self.clients = Stack(**parameters), boto3.Session(), {}
        self.called: set[str] = set()
        self.iam, self.s3, self.sqs, self.functions, self.ec2 = (
            boto3.client(name) for name in ("iam", "s3", "sqs", "lambda", "ec2"))
        put_artifacts()
        boto3.client("cloudformation").create_stack(
            StackName=STACK, TemplateBody=moto_template(self.stack), Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in (TEST_PARAMETERS | parameters).items()])
        self.deployed: DeployedStack = self.reader().deployed(STACK)
        self.wanted = Policies(self.deployed)
        # Policies that moto drops, or stores in another form than AWS.
        self.put_user()
        for name in self.deployed.resources_of_type("AWS::IAM::Role"):
            for about in self.deployed.properties(name)["Policies"]:
                self.put_role(name, about["PolicyName"])
        self.put_bucket()
        for name in self.wanted.of["sqs"]:
            self.put_queue(name)
        self.put_way()

    def reader(self, refused: str = "") -> Reader:
        """A reader that may read everything except `refused`."""
        account = self

        class RecordingReader(Reader):
            def call(self, service: str, operation: str, **arguments):
                account.called.add(f"{service}:{''.join(word.capitalize() for word in operation.split('_'))}")
                if operation == "get_template":
                    # moto has the template without the resources that it does not support.
                    return {"TemplateBody": account.stack.plain}
                return super().call(service, operation, **arguments)

        reader = RecordingReader(self.session, REGION)
        # Creating a client takes longer than a call.
        reader.clients = self.clients
        if refused:
            reader.clients = dict(self.clients)
            service, operation = refused.split(":")

            def refuse(**_):
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)

            reader.clients[service] = self.session.client(service)
            reader.clients[service].meta.events.register(f"before-call.{service}.{operation}", refuse)
        return reader

    def look(self, refused: str = "") -> dict:
        return audit.audit(self.reader(refused), STACK)

    def lookup(self, name: str) -> str:
        return self.deployed.lookup(name)

    def put_user(self, change: Callable[[dict], None] = lambda _: None) -> None:
        [document] = self.wanted.identity["EdgeUser"]
        self.iam.put_user_policy(UserName=self.lookup("EdgeUser"), PolicyName="edge", PolicyDocument=modify_policy(document.text, change))

    def put_role(self, name: str, policy: str, change: Callable[[dict], None] = lambda _: None) -> None:
        [text] = [one.text for one in self.wanted.identity[name] if f" {policy} of" in one.label]
        self.iam.put_role_policy(RoleName=self.lookup(name), PolicyName=policy, PolicyDocument=modify_policy(text, change))

    def put_trust(self, name: str, change: Callable[[dict], None] = lambda _: None) -> None:
        text = modify_policy(self.wanted.trusts[name].text, change)
        self.iam.update_assume_role_policy(RoleName=self.lookup(name), PolicyDocument=text)

    def put_bucket(self, change: Callable[[dict], None] = lambda _: None) -> None:
        [document] = self.wanted.of["s3"]["Bucket"]
        self.s3.put_bucket_policy(Bucket=self.lookup("Bucket"), Policy=modify_policy(document.text, change))

    def put_queue(self, name: str, change: Callable[[dict], None] = lambda _: None) -> None:
        [document] = self.wanted.of["sqs"][name]
        self.sqs.set_queue_attributes(QueueUrl=self.lookup(name), Attributes={"Policy": modify_policy(document.text, change)})

    def put_way(self, change: Callable[[dict], None] = lambda _: None) -> None:
        for name, [document] in self.wanted.ways.items():
            self.ec2.modify_vpc_endpoint(VpcEndpointId=self.lookup(name), PolicyDocument=modify_policy(document.text, change))


def modify_policy(text: dict, change: Callable[[dict], None]) -> str:
    """The text of a policy after `change` to its statements."""
    text = json.loads(json.dumps(text))
    change(text["Statement"])
    return json.dumps(text)


def without_conditions(statements: list[dict]) -> None:
    for one in statements:
        one.pop("Condition", None)


def remove_statement(sid: str) -> Callable[[list], None]:
    return lambda statements: statements.remove(next(one for one in statements if one.get("Sid") == sid))


def statement(action: str | list[str], resource: str, **more) -> Callable[[list], None]:
    return lambda statements: statements.append({"Effect": "Allow", "Action": action, "Resource": resource} | more)


def trust_statement(principal) -> Callable[[list], None]:
    return lambda statements: statements.append({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal})


class DriftActions:
    """Changes policies outside of CloudFormation."""

    def __init__(self, at: MotoAccount) -> None:
        self.at, self.iam, self.preview, self.edge = at, at.iam, at.lookup("PreviewRole"), at.lookup("EdgeUser")
        self.bucket, self.function = f"arn:aws:s3:::{at.lookup('Bucket')}", at.lookup("Render")

    def attach(self, name: str) -> Callable[[], None]:
        return lambda: self.iam.attach_role_policy(RoleName=self.preview, PolicyArn=MANAGED.format(name))

    def inline(self, effect: str, action: str, resource: str, **more) -> Callable[[], None]:
        text = {"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": action, "Resource": resource} | more}
        return lambda: self.iam.put_role_policy(RoleName=self.preview, PolicyName="more", PolicyDocument=json.dumps(text))

    def drop(self) -> None:
        self.iam.delete_role_policy(RoleName=self.preview, PolicyName="more")

    def group(self) -> None:
        self.iam.create_group(GroupName="staff")
        self.iam.put_group_policy(GroupName="staff", PolicyName="all", PolicyDocument=json.dumps(ALLOW_ALL))
        self.iam.add_user_to_group(GroupName="staff", UserName=self.edge)

    def boundary(self, action: str) -> Callable[[], None]:
        text = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}
        arn = self.iam.create_policy(PolicyName=f"limit-{action[:2]}", PolicyDocument=json.dumps(text))["Policy"]["Arn"]
        return lambda: self.iam.put_role_permissions_boundary(RoleName=self.preview, PermissionsBoundary=arn)

    def unlimited(self) -> None:
        self.iam.delete_role_permissions_boundary(RoleName=self.preview)

    def principals(self) -> list[tuple]:
        """Description of a change, the change, and the expected finding: issue, principal, and a part of its text."""
        at, iam, preview, edge, all_of_it = self.at, self.iam, self.preview, self.edge, f"{self.bucket}/*"
        more = "by the inline policy more of"
        by_address = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
        return [
            ("attaches AdministratorAccess", self.attach("AdministratorAccess"), WIDE, preview, "AdministratorAccess attached to"),
            ("attaches a policy with NotAction", self.attach("PowerUserAccess"), WIDE, preview, "PowerUserAccess"),
            ("attaches a long policy", self.attach("ReadOnlyAccess"), WIDE, preview, "ReadOnlyAccess"),
            ("allows s3:* by a second policy", self.inline("Allow", "s3:*", all_of_it), WIDE, preview, more),
            ("allows an action that is in no list", self.inline("Allow", "dynamodb:PutItem", "*"), WIDE, preview, "dynamodb:PutItem"),
            ("allows an action under an unsupported condition", self.inline("Allow", "s3:DeleteObject", all_of_it, Condition=by_address),
             WIDE, preview, more),
            ("allows an action with a policy variable", self.inline("Allow", "s3:DeleteObject", f"{self.bucket}/${{aws:PrincipalTag/team}}/*"), WIDE,
             preview, more),
            ("puts the user into a group", self.group, WIDE, edge, "the inline policy all of staff"),
            ("widens the template's own policy", lambda: at.put_role("PreviewRole", "preview", statement("s3:*", all_of_it)), WIDE,
             preview, "the inline policy preview of"),
            ("removes the conditions of the template's policy", lambda: at.put_role("PreviewRole", "preview", without_conditions), WIDE, preview,
             "AskWhetherOneIsThere"),
            ("removes the template's policy", lambda: iam.delete_role_policy(RoleName=preview, PolicyName="preview"), NARROW, preview, "is not in effect"),
            ("removes a statement of the edge's policy", lambda: at.put_user(remove_statement("UploadInParts")), NARROW, edge,
             "UploadInParts, is not in effect"),
            ("adds a Deny", self.inline("Deny", "s3:PutObject", "*"), NARROW, preview, "denied by the inline policy more of"),
            ("sets a permissions boundary", self.boundary("ec2:*"), NARROW, preview, "blocked by the permissions boundary"),
            ("allows the function's code to change its network", lambda: at.put_role("PreviewRole", "network", remove_statement("TheCodeDoesNot")),
             WIDE, preview, "TheCodeDoesNot, a Deny statement, is not in effect"),
            ("allows the function's code to receive messages", lambda: iam.delete_role_policy(RoleName=preview, PolicyName="code"), WIDE,
             preview, "TheCodeTakesNoMessages, a Deny statement, is not in effect"),
            ("trusts all principals", lambda: at.put_trust("PreviewRole", trust_statement("*")), WIDE, "any principal", f"the trust policy of {preview}"),
            ("trusts another account", lambda: at.put_trust("PreviewRole", trust_statement({"AWS": OUTSIDER})), WIDE, OUTSIDER,
             f"the trust policy of {preview}"),
            ("removes the trust in Lambda",
             lambda: at.put_trust("RenderRole", lambda all: all[0].update(Principal={"Service": "ec2.amazonaws.com"})), NARROW,
             "lambda.amazonaws.com", "the trust policy of"),
        ]

    def resources(self) -> list[tuple]:
        """The same for resource policies."""
        at, objects, url = self.at, f"{self.bucket}/*", self.at.lookup("UploadQueue")
        public = {"StatementId": "open", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"}
        return [
            ("allows all principals to read the bucket", lambda: at.put_bucket(statement("s3:GetObject", objects, Principal="*", Sid="Open")),
             WIDE, "any principal", "statement Open"),
            ("allows another account to read the bucket", lambda: at.put_bucket(statement("s3:GetObject", objects, Principal={"AWS": OUTSIDER})),
             WIDE, OUTSIDER, "the policy of the bucket"),
            ("allows plain text", lambda: at.put_bucket(remove_statement("NothingInPlainText")), WIDE, self.edge, "SecureTransport=false"),
            ("allows functions to replace uploads, if another policy allows it", lambda: at.put_bucket(remove_statement("LambdasLeaveUploadsAlone")),
             WIDE, "any principal allowed by another policy", "LambdasLeaveUploadsAlone, a Deny statement, is not in effect"),
            ("allows decoders' credentials from other networks", lambda: at.put_bucket(remove_statement("DecodersByTheirNetworkAlone")), WIDE,
             self.preview, "DecodersByTheirNetworkAlone, a Deny statement, is not in effect"),
            ("removes the bucket's policy", lambda: at.s3.delete_bucket_policy(Bucket=at.lookup("Bucket")), WIDE, self.edge,
             "the policy of the bucket"),
            ("removes the queue's policy", lambda: at.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""}), NARROW,
             "s3.amazonaws.com", "EventsOfTheBucket, is not in effect"),
            ("allows all principals to send to the queue",
             lambda: at.put_queue("UploadQueue", statement("sqs:SendMessage", "*", Principal={"AWS": "*"}, Sid="Open")), WIDE,
             "any principal", "statement Open"),
            ("opens the function's URL", lambda: at.functions.add_permission(FunctionName=self.function, **public), WIDE, "any principal",
             f"the policy of the function {self.function}"),
            ("opens the network", lambda: at.put_way(statement("*", "*", Principal="*")), WIDE, "the network of the functions",
             "the policy of the endpoint"),
            ("closes the network", lambda: at.put_way(lambda all: all[0].update(Action="s3:GetObject")), NARROW, self.preview,
             "the policy of the endpoint"),
        ]

    def harmless(self) -> list[tuple]:
        """Description of a change, the change, its reversal, and the expected remark."""
        at, objects, mine = self.at, f"{self.bucket}/*", {"AWS": "arn:aws:iam::123456789012:role/x"}
        return [
            ("sets a permissions boundary that allows everything", self.boundary("*"), self.unlimited, ""),
            ("adds a Deny under an unsupported condition",
             self.inline("Deny", "s3:PutObject", "*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), self.drop,
             "the condition IpAddress is not evaluated"),
            ("allows an action that is already allowed", self.inline("Allow", "s3:GetObject", f"{self.bucket}/uploads/*"), self.drop, ""),
            ("allows another role of the account to read", lambda: at.put_bucket(statement("s3:GetObject", objects, Principal=mine)),
             at.put_bucket, ""),
        ]


def run_fix_command(command: str) -> None:
    """Runs a command as the AWS CLI would."""
    program, service, operation, *options = shlex.split(command)
    arguments = {"".join(part.capitalize() for part in name.removeprefix("--").split("-")): value
            for name, value in zip(options[::2], options[1::2], strict=True)}
    if "Attributes" in arguments:
        arguments["Attributes"] = json.loads(arguments["Attributes"])
    client = boto3.client({"s3api": "s3"}.get(service, service))
    if program != "aws":
        raise ValueError(command)
    getattr(client, operation.replace("-", "_"))(**arguments)


def check_evaluator(report) -> None:
    """Policy elements that others use and template.yaml does not."""
    allow = {"Sid": "it", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}

    def allows(action: str = "s3:GetObject", context: dict | None = None, **more) -> bool:
        policy = {"Version": "2012-10-17", "Statement": [{key: value for key, value in (allow | more).items() if value}]}
        return evaluate.decide("arn:aws:iam::1:role/x", action, "arn:aws:s3:::b/k", context or {}, [policy], []).allowed

    decisions = {
        "NotAction": (allows("s3:PutObject", Action=None, NotAction="s3:Get*"), allows(Action=None, NotAction="S3:get*")),
        "NotResource": (allows(Resource=None, NotResource="arn:aws:s3:::c/*"), allows(Resource=None, NotResource="*")),
        "Null": (allows(Condition={"Null": {"a": "true"}}), allows(Condition={"Null": {"a": "false"}})),
        "a negation": (allows(Condition={"StringNotLike": {"A": ["x*", "y*"]}}, context={"a": "z"}),
                       allows(Condition={"StringNotLike": {"A": ["x*", "y*"]}}, context={"a": "yes"})),
        "a negation without the key": (allows(Condition={"ArnNotEquals": {"a": "x"}}), allows(Condition={"ArnEquals": {"a": "x"}})),
        "NotPrincipal": (evaluate.matches_principal({"Effect": "Deny", "NotPrincipal": {"AWS": "arn:aws:iam::1:role/y"}}, "arn:aws:iam::1:role/x"),
                         evaluate.matches_principal({"Effect": "Deny", "NotPrincipal": {"AWS": "arn:aws:iam::1:role/x"}}, "arn:aws:iam::1:role/x")),
        "an account": (evaluate.matches_principal({"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::1:root"}}, "arn:aws:iam::1:role/x"),
                       evaluate.matches_principal({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}}, "arn:aws:iam::1:role/x")),
    }
    wrong = [name for name, answers in decisions.items() if answers != (True, False)]
    report.check(not wrong, "the evaluator supports further policy elements", ", ".join(wrong))


def check(report) -> None:
    check_evaluator(report)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        os.environ[name] = "made-up"
    os.environ["AWS_DEFAULT_REGION"] = REGION
    warnings.simplefilter("ignore")
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    for variant, parameters in {"queue": {}, "open": {"Network": "open", "BucketName": "elsewhere"}, "telling": NOTIFY_PARAMETERS,
                                "backfill": {"Backfill": "yes"}, "engine": NOTIFY_PARAMETERS | WORKFLOW_PARAMETERS}.items():
        with mock_aws():
            found = MotoAccount(parameters).look()
            # moto adds a nonstandard element to a function's policy.
            remarks = [remark for remark in found["remarks"] if not remark.endswith("FunctionName is not evaluated")]
            report.check(not found["findings"] and not found["unseen"] and not remarks and "glimpse-edge" in found["checked"],
                         f"roles, {variant}: no findings without changes", str(found["findings"] or found["unseen"] or remarks or ""))
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        at = MotoAccount({})
        hand = DriftActions(at)
        for what, do, issue, whom, words in hand.principals() + hand.resources():
            do()
            found = at.look()["findings"]
            first = next(iter(found), {"issue": "", "observed": ""})
            good = first["issue"] == issue and whom in first["observed"].split(" is ")[0] and words in " ".join(one["observed"] for one in found)
            report.check(good, f"roles: finds that someone {what}", str(first["observed"] if good else found)[:1000])
            for command in {one["fix_command"] for one in found}:
                run_fix_command(command)
            left = at.look()["findings"]
            report.check(not left, "roles: and the printed commands undo it", str(left or "")[:1000])
        for what, do, undo, remark in hand.harmless():
            do()
            found = at.look()
            undo()
            report.check(not found["findings"] and remark in str(found["remarks"]), f"roles: no finding if someone {what}",
                         str(found["findings"] or "")[:1000])
        check_unreadable(report, at)
        remove(at, "RenderRole")
        [found] = at.look()["findings"]
        report.check(found["issue"] == NARROW and found["fix_command"] is None and found["observed"].startswith(f"{at.lookup('RenderRole')} is missing"),
                     "roles: finds a deleted role", str(found))
        docs = (TEMPLATE.parent / "docs/operating.md").read_text()
        reads = [action for action in sorted(at.called) if action.split(":")[1].startswith(("Get", "List", "Describe"))]
        named = [action for action in reads if f"`{action}`" in docs or f"`{action.split(':')[1]}`" in docs]
        report.check(len(reads) > 15 and named == reads and len(reads) == len(at.called),
                     "roles: only the read actions in docs/operating.md are used", " ".join(at.called - set(named)))


def remove(at: MotoAccount, name: str) -> None:
    for policy in at.iam.list_role_policies(RoleName=at.lookup(name))["PolicyNames"]:
        at.iam.delete_role_policy(RoleName=at.lookup(name), PolicyName=policy)
    at.iam.delete_role(RoleName=at.lookup(name))


def check_unreadable(report, at: MotoAccount) -> None:
    """Without a read permission, the missing action is reported, and no finding."""
    iam, preview = at.iam, at.lookup("PreviewRole")
    iam.attach_role_policy(RoleName=preview, PolicyArn=MANAGED.format("AdministratorAccess"))
    for refused in ("iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:GetPolicyVersion",
                    "cloudformation:DescribeStacks", "cloudformation:ListStackResources"):
        found = at.look(refused)
        named = all(one.startswith(f"{refused} on ") for one in found["unseen"])
        report.check(found["unseen"] and named and not found["findings"], f"roles: {refused} is reported as missing",
                     str(found)[:300])
    iam.detach_role_policy(RoleName=preview, PolicyArn=MANAGED.format("AdministratorAccess"))
    for refused in ("s3:GetBucketPolicy", "sqs:GetQueueAttributes", "lambda:GetPolicy", "ec2:DescribeVpcEndpoints", "iam:GetUser"):
        found = at.look(refused)
        report.check(found["unseen"] and not found["findings"], f"roles: {refused} is reported as missing", str(found)[:300])
