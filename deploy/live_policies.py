"""Reads a deployed stack with the caller's credentials: its template and the policies that are in effect.

Read-only. Policies that cannot be read are reported with the missing action, and are assumed to match the template.
"""

import json
import re
import shlex

import boto3
from botocore.exceptions import ClientError

import policy_evaluator as iam
from template import Stack

# AWS error codes for denied access and for missing resources.
ACCESS_DENIED_CODES = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException", "UnauthorizedOperation"}
NOT_FOUND_CODES = {"NoSuchEntity", "NoSuchBucketPolicy", "ResourceNotFoundException"}


class ReadDenied(Exception):
    """Reading was denied."""


class DeployedStack(Stack):
    """A stack, by its template as stored by CloudFormation, with the account's actual names filled in."""

    def __init__(self, template: dict, parameters: dict[str, str], physical: dict[str, str], pseudo: dict[str, str]) -> None:
        self.pseudo, self.physical, self.plain = pseudo, physical, template
        kinds = {name: about["Type"] for name, about in template["Parameters"].items()}
        self.parameters = {name: value.split(",") if kinds.get(name) == "CommaDelimitedList" else value
                           for name, value in parameters.items()}
        self.conditions = template.get("Conditions", {})
        self.resources = {name: about for name, about in template["Resources"].items()
                          if "Condition" not in about or self.is_met(about["Condition"])}
        self.filled = {}

    def lookup(self, name: str, which: str | None = None):
        if name in self.pseudo or name == "AWS::NoValue" or name in self.parameters:
            return super().lookup(name)
        known, kind = self.physical.get(name, f"{name}-id"), self.resources[name]["Type"]
        if which is None or known.startswith("arn:"):
            return known
        return self.arn(kind, known) if which == "Arn" else f"{which}-of-{known}"

    def arn(self, kind: str, known: str) -> str:
        partition, region, account = (self.pseudo[f"AWS::{name}"] for name in ("Partition", "Region", "AccountId"))
        at, of = f"arn:{partition}", f"{region}:{account}"
        return {
            "AWS::S3::Bucket": f"{at}:s3:::{known}",
            "AWS::SQS::Queue": f"{at}:sqs:{of}:{known.rsplit('/', 1)[-1]}",
            "AWS::IAM::Role": f"{at}:iam::{account}:role/{known}",
            "AWS::IAM::User": f"{at}:iam::{account}:user/{known}",
            "AWS::Lambda::Function": f"{at}:lambda:{of}:function:{known}",
            "AWS::Logs::LogGroup": f"{at}:logs:{of}:log-group:{known}:*",
        }.get(kind, f"{at}:unknown:{of}:{known}")

    def kind(self, name: str) -> str:
        return "user" if self.resources[name]["Type"] == "AWS::IAM::User" else "role"

    def principals(self) -> list[str]:
        return [*self.resources_of_type("AWS::IAM::User"), *self.resources_of_type("AWS::IAM::Role")]

    def queue_policies(self) -> dict[str, dict]:
        """The policies of queues, by the logical name of the queue."""
        urls = {self.lookup(name): name for name in self.resources_of_type("AWS::SQS::Queue")}
        return {urls[url]: about["PolicyDocument"] for about in self.resources_of_type("AWS::SQS::QueuePolicy").values()
                for url in about["Queues"]}


class Reader:
    """Calls AWS, and records denied reads."""

    def __init__(self, session: boto3.Session, region: str) -> None:
        self.session, self.region, self.unseen = session, region, []
        self.clients = {}

    def call(self, service: str, operation: str, **arguments):
        """Returns the response with all of its pages, or None if the resource does not exist."""
        if service not in self.clients:
            self.clients[service] = self.session.client(service, region_name=self.region)
        client = self.clients[service]
        try:
            if client.can_paginate(operation):
                return client.get_paginator(operation).paginate(**arguments).build_full_result()
            return getattr(client, operation)(**arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in NOT_FOUND_CODES or code.endswith("NonExistentQueue"):
                return None
            if code in ACCESS_DENIED_CODES:
                action = f"{service}:{error.operation_name}"
                of = next((value for value in arguments.values() if isinstance(value, str)), "*")
                self.unseen.append(f"{action} on {of}")
                raise ReadDenied(action) from error
            raise

    def deployed(self, stack: str) -> DeployedStack:
        [about] = self.call("cloudformation", "describe_stacks", StackName=stack)["Stacks"]
        template = self.call("cloudformation", "get_template", StackName=stack, TemplateStage="Processed")["TemplateBody"]
        made = self.call("cloudformation", "list_stack_resources", StackName=stack)["StackResourceSummaries"]
        _, partition, _, region, account, _ = about["StackId"].split(":", 5)
        pseudo = {"AWS::AccountId": account, "AWS::Region": region, "AWS::Partition": partition,
                  "AWS::StackName": about["StackName"], "AWS::StackId": about["StackId"], "AWS::URLSuffix": "amazonaws.com"}
        parameters = {one["ParameterKey"]: one.get("ResolvedValue", one["ParameterValue"]) for one in about.get("Parameters", [])}
        physical = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in made if "PhysicalResourceId" in one}
        return DeployedStack(template if isinstance(template, dict) else json.loads(template), parameters, physical, pseudo)


class PolicyRecord:
    """A policy, its display name, and the command that fixes it: that restores the template's policy, or removes a policy
    that is not in the template. `about` is the ARN of the only resource that it applies to."""

    def __init__(self, label: str, text: dict, fix_command: str, about: str | None = None) -> None:
        self.label, self.text, self.fix_command, self.about = label, text, fix_command, about

    def statements(self) -> list[dict]:
        """The statements, each named after its position."""
        found = [dict(statement) for statement in iam.as_list(self.text["Statement"])]
        for number, statement in enumerate(found, 1):
            statement["Sid"] = f"{self.label}, statement {statement.get('Sid') or number}"
        return found

    def readable(self, trusting: bool) -> dict:
        """Converts the policy for the evaluator and resolves unsupported conditions: in an Allow statement they are assumed to
        be met, or with `trusting` not to be met; in a Deny statement they are assumed not to be met."""
        statements = []
        for statement in self.statements():
            if unsupported_part(statement):
                if trusting or statement["Effect"] == "Deny":
                    continue
                statement = strip_unsupported(statement)
            if "NotResource" not in statement:
                # A trust policy applies to the role itself.
                statement.setdefault("Resource", "*")
            if self.about is not None:
                # A queue's policy applies only to that queue, even if it names other resources.
                if not iam.applies_to(statement | {"Action": "*"}, "any", self.about):
                    continue
                statement.pop("NotResource", None)
                statement["Resource"] = self.about
            statements.append(statement)
        return {"Version": "2012-10-17", "Id": self.label, "Statement": statements}

    def remarks(self) -> list[str]:
        """The parts that are not evaluated."""
        return [f"{statement['Sid']}: {doubt}" for statement in self.statements() if (doubt := unsupported_part(statement))]


def unsupported_part(statement: dict) -> str | None:
    """The part of a statement that the evaluator does not support."""
    if strange := sorted(statement.keys() - iam.ELEMENTS):
        return f"{strange[0]} is not evaluated"
    if strange := [name for name in statement.get("Condition", {}) if not iam.is_supported_operator(name)]:
        return f"the condition {strange[0]} is not evaluated"
    return "variables are not evaluated" if "${" in json.dumps(statement) else None


def strip_unsupported(statement: dict) -> dict:
    """The statement without unsupported restrictions."""
    kept = {name: value for name, value in statement.items() if name in iam.ELEMENTS and name != "Condition"}
    kept = json.loads(re.sub(r"\$\{[^}]*\}", "*", json.dumps(kept)))
    conditions = {name: keys for name, keys in statement.get("Condition", {}).items()
                  if iam.is_supported_operator(name) and "${" not in json.dumps(keys)}
    return kept | {"Condition": conditions}


class Policies:
    """The policies of a stack's principals and resources: initially those of its template, then those that were read."""

    def __init__(self, deployed: DeployedStack) -> None:
        self.deployed = deployed
        # The principals that were checked, and the missing ones.
        self.checked: list[str] = []
        self.gone: list[str] = []
        self.identity = {name: self.inline_of_template(name) for name in deployed.principals()}
        self.limits: dict[str, list[PolicyRecord]] = {}
        self.trusts = {name: self.trust(name, about["AssumeRolePolicyDocument"])
                       for name, about in deployed.resources_of_type("AWS::IAM::Role").items()}
        self.ways = {name: [self.way(name, about["PolicyDocument"])]
                     for name, about in deployed.resources_of_type("AWS::EC2::VPCEndpoint").items()}
        buckets = {deployed.lookup(name): name for name in deployed.resources_of_type("AWS::S3::Bucket")}
        self.of = {"s3": {buckets[about["Bucket"]]: [self.bucket(about["Bucket"], about["PolicyDocument"])]
                          for about in deployed.resources_of_type("AWS::S3::BucketPolicy").values()},
                   "sqs": {name: [self.queue(name, text)] for name, text in deployed.queue_policies().items()}, "lambda": {}}

    def inline_of_template(self, name: str) -> list[PolicyRecord]:
        kind, known = self.deployed.kind(name), self.deployed.lookup(name)
        return [PolicyRecord(inline_label(about["PolicyName"], known), about["PolicyDocument"],
                         f"aws iam put-{kind}-policy --{kind}-name {known} --policy-name {about['PolicyName']} "
                         f"--policy-document {shell_json(about['PolicyDocument'])}")
                for about in self.deployed.properties(name).get("Policies", [])]

    def trust(self, name: str, text: dict) -> PolicyRecord:
        known = self.deployed.lookup(name)
        return PolicyRecord(f"the trust policy of {known}", text,
                        f"aws iam update-assume-role-policy --role-name {known} --policy-document {shell_json(text)}")

    def way(self, name: str, text: dict) -> PolicyRecord:
        known = self.deployed.lookup(name)
        return PolicyRecord(f"the policy of the endpoint {known}", text,
                        f"aws ec2 modify-vpc-endpoint --vpc-endpoint-id {known} --policy-document {shell_json(text)}")

    @staticmethod
    def bucket(known: str, text: dict) -> PolicyRecord:
        return PolicyRecord(f"the policy of the bucket {known}", text,
                        f"aws s3api put-bucket-policy --bucket {known} --policy {shell_json(text)}")

    def queue(self, name: str, text: dict) -> PolicyRecord:
        url = self.deployed.lookup(name)
        return PolicyRecord(f"the policy of the queue {url.rsplit('/', 1)[-1]}", text,
                        f"aws sqs set-queue-attributes --queue-url {url} --attributes {shell_json({'Policy': json.dumps(text)})}",
                        self.deployed.lookup(name, "Arn"))

    def documents(self) -> list[PolicyRecord]:
        """All of them."""
        groups = [*self.identity.values(), *self.limits.values(), *self.ways.values(), self.trusts.values(),
                  *(documents for by_name in self.of.values() for documents in by_name.values())]
        return [document for group in groups for document in group]

    def read(self, reader: Reader) -> None:
        """Replaces the template's policies with those in effect. Policies that cannot be read are left unchanged; for a principal,
        all of them, since a partial set would be misleading."""
        parts = [(self.read_principal, name) for name in self.identity]
        for read, kind in ((self.read_bucket, "AWS::S3::Bucket"), (self.read_queue, "AWS::SQS::Queue"),
                           (self.read_function, "AWS::Lambda::Function"), (self.read_way, "AWS::EC2::VPCEndpoint")):
            parts += [(read, name) for name in self.deployed.resources_of_type(kind)]
        for read, name in parts:
            try:
                read(reader, name)
            except ReadDenied:
                pass

    def read_principal(self, reader: Reader, name: str) -> None:
        kind, known = self.deployed.kind(name), self.deployed.lookup(name)
        found = reader.call("iam", f"get_{kind}", **{f"{kind.capitalize()}Name": known})
        if found is None:
            self.gone.append(known)
            return
        about, flag = found[kind.capitalize()], f"--{kind}-name {known}"
        documents = inline(reader, kind, known, lambda one: f"aws iam delete-{kind}-policy {flag} --policy-name {one}")
        documents += managed(reader, kind, known, lambda arn: f"aws iam detach-{kind}-policy {flag} --policy-arn {arn}")
        groups = reader.call("iam", "list_groups_for_user", UserName=known)["Groups"] if kind == "user" else []
        for group in (group["GroupName"] for group in groups):
            for read in (inline, managed):
                documents += read(reader, "group", group,
                                  lambda _, group=group: f"aws iam remove-user-from-group {flag} --group-name {group}")
        limits = []
        if arn := about.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"):
            limits.append(PolicyRecord(f"the permissions boundary {arn} of {known}", as_gate(read_managed_policy(reader, arn)),
                                   f"aws iam delete-{kind}-permissions-boundary {flag}"))
        self.identity[name], self.limits[name] = documents, limits
        self.checked.append(name)
        if kind == "role":
            self.trusts[name] = self.trust(name, about["AssumeRolePolicyDocument"])

    def read_bucket(self, reader: Reader, name: str) -> None:
        known = self.deployed.lookup(name)
        found = reader.call("s3", "get_bucket_policy", Bucket=known)
        self.of["s3"][name] = [self.bucket(known, json.loads(found["Policy"]))] if found else []

    def read_queue(self, reader: Reader, name: str) -> None:
        found = reader.call("sqs", "get_queue_attributes", QueueUrl=self.deployed.lookup(name), AttributeNames=["Policy"]) or {}
        text = found.get("Attributes", {}).get("Policy")
        self.of["sqs"][name] = [self.queue(name, json.loads(text))] if text else []

    def read_function(self, reader: Reader, name: str) -> None:
        known = self.deployed.lookup(name)
        found = reader.call("lambda", "get_policy", FunctionName=known)
        removal = f"aws lambda remove-permission --function-name {known} --statement-id"
        self.of["lambda"][name] = [PolicyRecord(f"the policy of the function {known}", json.loads(found["Policy"]), removal)] if found else []

    def read_way(self, reader: Reader, name: str) -> None:
        found = reader.call("ec2", "describe_vpc_endpoints", VpcEndpointIds=[self.deployed.lookup(name)])["VpcEndpoints"]
        self.ways[name] = [self.way(name, json.loads(about["PolicyDocument"])) for about in found]


class PolicyView:
    """Presents policies as a stack for `permissions.PolicySimulator`. For `trusting`, see `PolicyRecord.readable`."""

    def __init__(self, policies: Policies, trusting: bool, has_ways: bool) -> None:
        self.policies, self.trusting, self.has_ways = policies, trusting, has_ways
        deployed = policies.deployed
        self.resources, self.lookup, self.substitutions, self.resources_of_type = deployed.resources, deployed.lookup, deployed.substitutions, deployed.resources_of_type
        self.read: dict[str, dict] = {}

    def readable(self, documents: list[PolicyRecord]) -> list[dict]:
        for document in documents:
            if document.label not in self.read:
                self.read[document.label] = document.readable(self.trusting)
        return [self.read[document.label] for document in documents]

    def policies_of(self, name: str) -> list[dict]:
        return self.readable(self.policies.identity[name])

    def boundaries_of(self, name: str) -> list[dict]:
        return self.readable(self.policies.limits.get(name, []))

    def policies_for(self, service: str) -> list[dict]:
        return self.readable([one for documents in self.policies.of.get(service, {}).values() for one in documents])

    def endpoint_policies_for(self, service: str) -> list[dict]:
        wanted = [documents for name, documents in self.policies.ways.items()
                  if self.policies.deployed.properties(name)["ServiceName"].endswith(f".{service}")]
        return self.readable([one for documents in wanted for one in documents]) if self.has_ways else []


def inline(reader: Reader, kind: str, known: str, removal) -> list[PolicyRecord]:
    """The inline policies of a user, role or group."""
    field = f"{kind.capitalize()}Name"
    names = reader.call("iam", f"list_{kind}_policies", **{field: known})["PolicyNames"]
    read = {name: reader.call("iam", f"get_{kind}_policy", **{field: known, "PolicyName": name}) for name in names}
    return [PolicyRecord(inline_label(name, known), about["PolicyDocument"], removal(name)) for name, about in read.items() if about]


def managed(reader: Reader, kind: str, known: str, removal) -> list[PolicyRecord]:
    """The attached policies of a user, role or group."""
    attached = reader.call("iam", f"list_attached_{kind}_policies", **{f"{kind.capitalize()}Name": known})["AttachedPolicies"]
    return [PolicyRecord(f"the policy {about['PolicyName']} attached to {known}", read_managed_policy(reader, about["PolicyArn"]),
                     removal(about["PolicyArn"])) for about in attached]


def read_managed_policy(reader: Reader, arn: str) -> dict:
    version = reader.call("iam", "get_policy", PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return reader.call("iam", "get_policy_version", PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]


def inline_label(name: str, known: str) -> str:
    return f"the inline policy {name} of {known}"


def shell_json(document: dict) -> str:
    return shlex.quote(json.dumps(document, separators=(",", ":")))


def as_gate(document: dict) -> dict:
    """A boundary as a gate: it has no Principal, and applies to the principal that it limits."""
    return document | {"Statement": [statement | {"Principal": "*"} for statement in iam.as_list(document["Statement"])]}
