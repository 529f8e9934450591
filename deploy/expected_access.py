"""The calls that each part of Glimpse must be allowed to make, and those that must be denied: docs/threat-model.md, U14.

Required calls are recorded: the local S3 logs every call of the end-to-end tests, and each is evaluated here against the
policies of template.yaml. The rows below list calls without a local counterpart, and calls that must be denied.
"""

import json
from collections import defaultdict
from pathlib import Path

import policy_evaluator as iam
from template import Stack

OWNER, OTHER = "a" * 22, "B" * 22
VIDEO = "7" * 26
UPLOAD, SLOT, MEDIA = f"uploads/{OWNER}/{VIDEO}", f"slots/{OWNER}/{VIDEO}", f"media/{VIDEO}"
PRINCIPALS = {"edge": "EdgeUser", "preview": "PreviewRole", "render": "RenderRole", "reconcile": "ReconcileRole"}
# Principals that exist only with webhooks or a topic.
NOTIFIERS = {"notify": "NotifyRole"}
# Principals that exist only with state machines for uploads or a backfill: functions, and starters of executions.
STEPS = {"probe": "ProbeRole", "poster": "PictureRole", "animation": "PictureRole", "storyboard": "PictureRole",
         "publish": "PublishRole"}
WORKFLOW_ROLES = {"video": "VideoWorkflowRole", "begin": "BeginWorkflowRole", "rule": "UploadsRuleRole",
           "backfill": "BackfillWorkflowRole"}
# Those of them that call S3 themselves.
READERS = {"backfill": WORKFLOW_ROLES["backfill"]}
ALL_PRINCIPALS = PRINCIPALS | NOTIFIERS | STEPS | WORKFLOW_ROLES
LAMBDAS = ("preview", "render", "reconcile")
DECODERS = ("preview", "render", "probe", "poster", "animation", "storyboard")
OUTCOMES = (f"{MEDIA}/manifest.json", f"{MEDIA}/failure.json")
# Any principal outside this account, admitted only by a misconfiguration.
OTHER_ACCOUNT = "arn:aws:iam::999999999999:user/stranger"
# Placeholders are filled in from the evaluated stack: `Stack.substitutions`.
FROM_BUCKET = {"aws:SourceAccount": "{account}", "aws:SourceArn": "arn:{partition}:s3:::{bucket}"}
# The endpoint of the decoders' network, and the key with the endpoint that a call used; empty: none.
WAY, VIA = "WayToTheBucket", "aws:SourceVpce"
FUNCTION_ARN_PREFIX = "arn:{partition}:lambda:{region}:{account}:function:{stack}-"
VIA_FUNCTION_URL = {"lambda:FunctionUrlAuthType": "AWS_IAM", "lambda:InvokedViaFunctionUrl": "true"}

# principal, action, object (or queue, function, "bucket"), further context of the call.
ALLOWED = [
    ("edge", "s3:PutObject", UPLOAD, {"s3:signatureAge": "3599000"}),
    ("edge", "lambda:InvokeFunctionUrl", "Render", VIA_FUNCTION_URL),
    ("edge", "lambda:InvokeFunction", "Render", VIA_FUNCTION_URL),
    ("preview", "sqs:ReceiveMessage", "UploadQueue", {}),
    ("preview", "sqs:DeleteMessage", "UploadQueue", {}),
    ("preview", "sqs:GetQueueAttributes", "UploadQueue", {}),
    ("reconcile", "sqs:SendMessage", "UploadQueue", {}),
    ("reconcile", "sqs:GetQueueAttributes", "UploadQueue", {}),
    # Lambda itself, with the role.
    ("preview", "ec2:CreateNetworkInterface", "*", {}),
    ("render", "ec2:DeleteNetworkInterface", "*", {}),
    *[(who, action, f"{who}-log", {}) for who in LAMBDAS for action in ("logs:CreateLogStream", "logs:PutLogEvents")],
    ("s3.amazonaws.com", "sqs:SendMessage", "UploadQueue", FROM_BUCKET),
    ("preview", "s3:PutObject", f"{MEDIA}/thumbnail.jpg", {}),
    # A failure is recorded before the last attempt, and deleted if that attempt succeeds.
    ("preview", "s3:DeleteObject", f"{MEDIA}/failure.json", {}),
    # An image on demand has a tag, by which it expires.
    ("render", "s3:PutObjectTagging", f"{MEDIA}/thumbnail-width_200.jpg", {}),
]
DENIED = [
    # Only the edge lists an owner's objects; decoders cannot enumerate keys.
    *[(who, "s3:ListBucket", "bucket", {"s3:prefix": prefix}) for who in ("preview", "render")
      for prefix in ("", "uploads/", f"uploads/{OWNER}/", f"uploads/{OWNER}/7", "media/", f"media/{VIDEO}/", "slots/")],
    *[(who, "s3:ListBucket", "bucket", {}) for who in LAMBDAS],
    ("edge", "s3:ListBucket", "bucket", {"s3:prefix": "uploads/"}),
    ("edge", "s3:ListBucket", "bucket", {"s3:prefix": "media/"}),
    ("edge", "s3:ListBucket", "bucket", {"s3:prefix": "other/"}),
    ("edge", "s3:ListBucketMultipartUploads", "bucket", {"s3:prefix": "uploads/"}),
    ("edge", "s3:ListBucketMultipartUploads", "bucket", {}),
    ("reconcile", "s3:ListBucket", "bucket", {"s3:prefix": "media/"}),
    # Lambdas read uploads and never write them (E4).
    *[(who, action, key, {}) for who in LAMBDAS for key in (UPLOAD, SLOT)
      for action in ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:PutObjectTagging")],
    *[(who, "s3:DeleteObject", f"{MEDIA}/thumbnail.jpg", {}) for who in LAMBDAS],
    *[(who, "s3:GetObject", SLOT, {}) for who in LAMBDAS],
    ("reconcile", "s3:GetObject", UPLOAD, {}),
    ("reconcile", "s3:GetObject", f"{MEDIA}/thumbnail.jpg", {}),
    ("reconcile", "s3:PutObject", f"{MEDIA}/manifest.json", {}),
    # No principal has access outside of the prefixes.
    *[(who, action, key, {}) for who in PRINCIPALS for key in ("other/x", "upload", "mediax/y", "")
      for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")],
    # No principal changes permissions or configuration. (U6)
    *[(who, action, key, {}) for who in PRINCIPALS for action, key in (
        ("s3:PutObjectAcl", UPLOAD), ("s3:PutObjectAcl", f"{MEDIA}/thumbnail.jpg"), ("s3:GetObjectAcl", UPLOAD),
        ("s3:PutBucketAcl", "bucket"), ("s3:PutBucketPolicy", "bucket"), ("s3:DeleteBucketPolicy", "bucket"),
        ("s3:PutBucketPublicAccessBlock", "bucket"), ("s3:PutBucketCORS", "bucket"),
        ("s3:PutBucketNotification", "bucket"), ("s3:PutLifecycleConfiguration", "bucket"), ("s3:DeleteBucket", "bucket"),
        ("s3:PutEncryptionConfiguration", "bucket"), ("s3:BypassGovernanceRetention", UPLOAD))],
    # Plain text, old signatures (U9) and old TLS are denied even for allowed principals.
    ("edge", "s3:PutObject", UPLOAD, {"aws:SecureTransport": "false"}),
    ("edge", "s3:PutObject", UPLOAD, {"s3:signatureAge": "3600001"}),
    ("edge", "s3:GetObject", UPLOAD, {"s3:TlsVersion": "1.1"}),
    ("preview", "s3:GetObject", UPLOAD, {"aws:SecureTransport": "false"}),
    # Lambdas are invoked only by the queue, the schedule and the one URL.
    ("edge", "lambda:InvokeFunction", "Render", {}),
    ("edge", "lambda:InvokeFunction", "Preview", VIA_FUNCTION_URL),
    ("edge", "lambda:InvokeFunctionUrl", "Render", {"lambda:FunctionUrlAuthType": "NONE"}),
    *[(who, action, function, VIA_FUNCTION_URL) for who in LAMBDAS for function in ("Preview", "Render", "Reconcile")
      for action in ("lambda:InvokeFunction", "lambda:InvokeFunctionUrl", "lambda:UpdateFunctionCode")],
    *[(who, action, "UploadQueue", {}) for who in ("edge", "render")
      for action in ("sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:PurgeQueue")],
    ("preview", "sqs:SendMessage", "UploadQueue", {}),
    ("preview", "sqs:ReceiveMessage", "DeadLetters", {}),
    ("reconcile", "sqs:ReceiveMessage", "UploadQueue", {}),
    ("reconcile", "sqs:SendMessage", "UploadQueue", {"aws:SecureTransport": "false"}),
    # Events of another bucket, and of a bucket of the same name in another account.
    ("s3.amazonaws.com", "sqs:SendMessage", "UploadQueue", FROM_BUCKET | {"aws:SourceArn": "arn:{partition}:s3:::other"}),
    ("s3.amazonaws.com", "sqs:SendMessage", "UploadQueue", FROM_BUCKET | {"aws:SourceAccount": "999999999999"}),
    ("s3.amazonaws.com", "sqs:SendMessage", "DeadLetters", FROM_BUCKET),
    # The decoders' own code cannot create network interfaces, use another role, or write another log.
    ("preview", "ec2:CreateNetworkInterface", "*",
     {"lambda:SourceFunctionArn": "arn:{partition}:lambda:{region}:{account}:function:{stack}-preview"}),
    ("render", "ec2:DescribeSubnets", "*",
     {"lambda:SourceFunctionArn": "arn:{partition}:lambda:{region}:{account}:function:{stack}-render"}),
    *[(who, action, "*", {}) for who in PRINCIPALS for action in (
        "sts:AssumeRole", "iam:PassRole", "iam:CreateAccessKey", "secretsmanager:GetSecretValue", "ssm:GetParameter",
        "kms:Decrypt", "s3:ListAllMyBuckets", "s3:CreateBucket", "logs:CreateLogGroup", "ec2:RunInstances")],
    ("preview", "logs:PutLogEvents", "render-log", {}),
    ("edge", "logs:PutLogEvents", "preview-log", {}),
    # Principals outside the account.
    *[(OTHER_ACCOUNT, action, key, {}) for key in (UPLOAD, f"{MEDIA}/thumbnail.jpg") for action in (
        "s3:GetObject", "s3:PutObject", "s3:DeleteObject")],
    *[(OTHER_ACCOUNT, action, "bucket", {}) for action in ("s3:ListBucket", "s3:PutBucketPolicy", "s3:GetBucketPolicy")],
    *[(OTHER_ACCOUNT, action, queue, {}) for queue in ("UploadQueue", "DeadLetters") for action in (
        "sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:PurgeQueue")],
    *[(OTHER_ACCOUNT, action, function, context) for function in ("Preview", "Render", "Reconcile") for action, context in (
        ("lambda:InvokeFunction", {}), ("lambda:InvokeFunction", {"lambda:InvokedViaFunctionUrl": "true"}),
        ("lambda:InvokeFunctionUrl", {"lambda:FunctionUrlAuthType": "NONE"}), ("lambda:InvokeFunctionUrl", VIA_FUNCTION_URL))],
    # Stolen credentials of a decoder (F17): the bucket denies them from elsewhere, or through another network's endpoint;
    # the queue denies them everywhere.
    *[(who, action, of, {VIA: way} | more) for who in ("preview", "render") for way in ("", "vpce-other")
      for action, of, more in (("s3:GetObject", UPLOAD, {}), ("s3:GetObject", f"{MEDIA}/thumbnail.jpg", {}),
                               ("s3:PutObject", f"{MEDIA}/manifest.json", {}), ("s3:ListBucket", "bucket", {"s3:prefix": UPLOAD}))],
    *[("preview", f"sqs:{action}", "UploadQueue", {"lambda:SourceFunctionArn": f"{FUNCTION_ARN_PREFIX}preview"})
      for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility", "SendMessage", "PurgeQueue")],
    *[(who, "s3:PutObjectTagging", f"{MEDIA}/thumbnail.jpg", {}) for who in ("preview", "reconcile", "edge")],
    *[(who, "s3:DeleteObject", key, {}) for who, key in (
        ("preview", f"{MEDIA}/manifest.json"), ("preview", f"{MEDIA}/poster.json"), ("render", f"{MEDIA}/failure.json"))],
    ("render", "s3:DeleteObjectTagging", f"{MEDIA}/thumbnail.jpg", {}),
]
# Additional rows with webhooks or a topic.
NOTIFY_PARAMETERS = {"WebhookUrls": "https://app.example/hooks", "WebhookSecrets": "whsec_made-up", "VideoTopic": "yes",
           "PublicUrl": "https://video.example.com"}
ALLOWED_NOTIFY = [
    # The stored outcome triggers it and is read by it; a deleted outcome causes no event.
    ("s3.amazonaws.com", "sqs:SendMessage", "NotifyQueue", FROM_BUCKET),
    *[("notify", "s3:GetObject", key, {}) for key in OUTCOMES],
    *[("notify", "s3:ListBucket", "bucket", {"s3:prefix": key}) for key in OUTCOMES],
    *[("notify", f"sqs:{action}", "NotifyQueue", {}) for action in (
        "ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility", "SendMessage")],
    ("notify", "sns:Publish", "Videos", {}),
    ("notify", "logs:PutLogEvents", "notify-log", {}),
    ("notify", "logs:CreateLogStream", "notify-log", {}),
]
DENIED_NOTIFY = [
    # It connects to customer-defined hosts: it can read only outcomes from the bucket, write nothing, and not publish alarms.
    *[("notify", action, key, {}) for key in (UPLOAD, SLOT, f"{MEDIA}/thumbnail.jpg")
      for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")],
    *[("notify", action, key, {}) for key in OUTCOMES for action in ("s3:PutObject", "s3:DeleteObject")],
    *[("notify", "s3:ListBucket", "bucket", {"s3:prefix": prefix})
      for prefix in ("", "uploads/", UPLOAD, "media/", f"{MEDIA}/", f"{MEDIA}/thumbnail.jpg")],
    ("notify", "s3:ListBucket", "bucket", {}),
    ("notify", "sqs:SendMessage", "UploadQueue", {}),
    ("notify", "sns:Publish", "Alarms", {}),
    ("notify", "logs:PutLogEvents", "preview-log", {}),
    # Decoders cannot send events.
    *[(who, f"sqs:{action}", "NotifyQueue", {}) for who in PRINCIPALS
      for action in ("SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "PurgeQueue")],
    *[(who, "sns:Publish", "Videos", {}) for who in ("edge", "preview", "render", "reconcile")],
    ("notify", "sqs:SendMessage", "NotifyQueue", {"aws:SecureTransport": "false"}),
    ("s3.amazonaws.com", "sqs:SendMessage", "NotifyQueue", FROM_BUCKET | {"aws:SourceArn": "arn:{partition}:s3:::other"}),
    ("s3.amazonaws.com", "sqs:SendMessage", "NotifyQueue", FROM_BUCKET | {"aws:SourceAccount": "999999999999"}),
    ("s3.amazonaws.com", "sqs:SendMessage", "NotifyDeadLetters", FROM_BUCKET),
    *[(OTHER_ACCOUNT, f"sqs:{action}", "NotifyQueue", {}) for action in ("SendMessage", "ReceiveMessage", "DeleteMessage")],
]

# Additional rows with state machines.
WORKFLOW_PARAMETERS = {"Workflow": "stepfunctions", "Backfill": "yes"}
STAGED, REPORT = f"work/{VIDEO}/thumbnail.jpg", "backfill/x/SUCCEEDED_0.json"
FROM_RULE = {"aws:SourceArn": "arn:{partition}:events:{region}:{account}:rule/{stack}-uploads"}
ALLOWED_WORKFLOW = [
    *[("video", "lambda:InvokeFunction", name, {}) for name in ("Probe", "Poster", "Animation", "Storyboard", "Publish")],
    ("rule", "states:StartExecution", "BeginWorkflow", {}),
    ("begin", "states:StartExecution", "VideoWorkflow", {}),
    ("events.amazonaws.com", "sqs:SendMessage", "DeadLetters", FROM_RULE),
    ("backfill", "lambda:InvokeFunction", "Preview", {}),
    ("backfill", "s3:ListBucket", "bucket", {"s3:prefix": "uploads/"}),
    ("backfill", "s3:ListBucket", "bucket", {"s3:prefix": f"uploads/{OWNER}/"}),
    *[("backfill", f"s3:{action}", REPORT, {})
      for action in ("PutObject", "GetObject", "ListMultipartUploadParts", "AbortMultipartUpload")],
    ("backfill", "states:StartExecution", "BackfillWorkflow", {}),
    *[("backfill", f"states:{action}", "BackfillWorkflow-execution", {})
      for action in ("DescribeExecution", "StopExecution", "RedriveExecution")],
    # Step Functions itself, with its roles, for its log.
    *[(who, action, "*", {}) for who in ("video", "begin", "backfill") for action in (
        "logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups")],
    *[(who, action, "workflow-log", {}) for who in STEPS for action in ("logs:CreateLogStream", "logs:PutLogEvents")],
    *[(who, "ec2:CreateNetworkInterface", "*", {}) for who in STEPS if who != "publish"],
    # The end-to-end tests do this only for missing objects: a source, a staged image of a duplicate.
    *[(who, "s3:ListBucket", "bucket", {"s3:prefix": key}) for who in STEPS for key in (UPLOAD, OUTCOMES[0])],
    *[(who, "s3:GetObject", OUTCOMES[0], {}) for who in STEPS],
    ("publish", "s3:ListBucket", "bucket", {"s3:prefix": STAGED}),
    ("publish", "s3:GetObject", UPLOAD, {}),
]
DENIED_WORKFLOW = [
    # X-Ray is not enabled, as documented in docs/operating.md.
    *[(who, action, "*", {}) for who in ("video", "begin", "backfill") for action in (
        "xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets")],
    # Stolen credentials of a step, used elsewhere.
    *[(who, "s3:GetObject", UPLOAD, {VIA: way}) for who in ("probe", "poster", "animation", "storyboard") for way in ("", "vpce-other")],
    *[(who, "s3:PutObject", STAGED, {VIA: ""}) for who in ("poster", "animation", "storyboard")],
    # A compromised decoder can publish nothing, and cannot read the output of others.
    *[(who, action, key, {}) for who in STEPS if who != "publish"
      for key in (*OUTCOMES, f"{MEDIA}/thumbnail.jpg", UPLOAD, SLOT, "other/x", REPORT)
      for action in ("s3:PutObject", "s3:DeleteObject")],
    *[(who, action, STAGED, {}) for who in STEPS if who != "publish" for action in ("s3:GetObject", "s3:DeleteObject")],
    ("probe", "s3:PutObject", STAGED, {}),
    *[("publish", action, key, {}) for key in (UPLOAD, SLOT, "other/x", REPORT) for action in ("s3:PutObject", "s3:DeleteObject")],
    ("publish", "s3:DeleteObject", f"{MEDIA}/thumbnail.jpg", {}),
    ("publish", "s3:PutObject", STAGED, {}),
    *[(who, "s3:ListBucket", "bucket", context) for who in STEPS for context in (
        {}, *({"s3:prefix": prefix} for prefix in ("", "uploads/", f"uploads/{OWNER}/", "media/", f"media/{VIDEO}/", "work/", "slots/")))],
    *[(who, "s3:GetObject", SLOT, {}) for who in STEPS],
    *[(who, "ec2:CreateNetworkInterface", "*", {"lambda:SourceFunctionArn": f"arn:{{partition}}:lambda:{{region}}:{{account}}:function:{{stack}}-{who}"})
      for who in STEPS],
    # No principal starts executions that another one is responsible for.
    *[(who, "states:StartExecution", machine, {}) for machine, whose in (
        ("VideoWorkflow", "begin"), ("BeginWorkflow", "rule"), ("BackfillWorkflow", "backfill"))
      for who in ALL_PRINCIPALS if who not in (whose, "notify")],
    *[(who, "lambda:InvokeFunction", name, {}) for who in ALL_PRINCIPALS if who not in ("video", "notify") for name in ("Poster", "Publish")],
    *[("video", "lambda:InvokeFunction", name, {}) for name in ("Preview", "Render", "Reconcile")],
    *[("backfill", "lambda:InvokeFunction", name, {}) for name in ("Render", "Reconcile")],
    ("backfill", "s3:GetObject", UPLOAD, {}),
    ("backfill", "s3:PutObject", f"{MEDIA}/manifest.json", {}),
    ("backfill", "s3:ListBucket", "bucket", {"s3:prefix": "media/"}),
    ("backfill", "s3:ListBucket", "bucket", {}),
    ("events.amazonaws.com", "sqs:SendMessage", "DeadLetters", {"aws:SourceArn": "arn:{partition}:events:{region}:{account}:rule/other"}),
    ("events.amazonaws.com", "sqs:SendMessage", "UploadQueue", FROM_RULE),
]


def expected_rows(stack: Stack) -> tuple[list[tuple], list[tuple]]:
    """The required and the forbidden calls, for the parts that a stack has."""

    def is_there(who: str, action: str, of: str, context: dict[str, str]) -> bool:
        if who == "events.amazonaws.com":
            return "UploadsRule" in stack.resources
        names = [ALL_PRINCIPALS[who]] if who in ALL_PRINCIPALS else []
        if of.endswith("-log"):
            names.append(f"{of.removesuffix('-log').capitalize()}Log")
        elif of not in ("*", "bucket") and not action.startswith("s3:"):
            names.append(of.removesuffix("-execution"))
        return all(name in stack.resources for name in names)

    def needs(row: tuple) -> bool:
        if row[1] == "s3:PutObjectTagging" and not stack.evaluate_condition({"Condition": "ExpiresOnDemand"}):
            return False
        return is_there(*row) and ("Vpc" in stack.resources or not row[1].startswith("ec2:"))

    def may(row: tuple) -> bool:
        return is_there(*row) and (WAY in stack.resources or VIA not in row[3])

    return ([row for row in ALLOWED + ALLOWED_NOTIFY + ALLOWED_WORKFLOW if needs(row)],
            [row for row in DENIED + DENIED_NOTIFY + DENIED_WORKFLOW if may(row)])


class PolicySimulator:
    """Evaluates calls against the policies of a stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.bucket = stack.lookup("Bucket", "Arn")
        self.logs = {name.removesuffix("Log").lower(): stack.lookup(name, "Arn")
                     for name in stack.resources_of_type("AWS::Logs::LogGroup")}
        # The statements that allowed a call, to detect unused ones.
        self.used: dict[str, set[str]] = defaultdict(set)

    def resource(self, action: str, of: str) -> str:
        if of == "*":
            return of
        if of.endswith("-log"):
            return self.logs[of.removesuffix("-log")].removesuffix("*") + "log-stream:x"
        if of.endswith("-execution"):
            machine = self.stack.lookup(of.removesuffix("-execution"))
            return f"{machine.replace(':stateMachine:', ':execution:')}:x"
        if action.startswith("s3:"):
            return self.bucket if of == "bucket" else f"{self.bucket}/{of}"
        return self.stack.lookup(of) if action.startswith("sns:") else self.stack.lookup(of, "Arn")

    def decide(self, who: str, action: str, of: str, context: dict[str, str]) -> iam.Decision:
        context = {key: value.format(**self.stack.substitutions) for key, value in context.items()}
        decision = self.simulate(who, action, self.resource(action, of), context)
        if decision.allowed:
            self.used[who].add(f"{decision.why.removeprefix('allowed by ')} {action}")
        return decision

    def simulate(self, who: str, action: str, arn: str, context: dict[str, str]) -> iam.Decision:
        """The same for a resource given by its ARN."""
        name = ALL_PRINCIPALS.get(who)
        service = action.split(":")[0]
        # Inside the network, a service can be reached only through its endpoint. (Calls by Lambda for the function, to receive
        # its messages and write its log, do not use its network.)
        is_inside = who in DECODERS and service == "s3"
        gates = self.stack.endpoint_policies_for(service) if is_inside else []
        if is_inside and WAY in self.stack.resources:
            context = {VIA: self.stack.lookup(WAY)} | context
        if not context.get(VIA):
            context = {key: value for key, value in context.items() if key != VIA}
        return iam.decide(
            self.stack.lookup(name, "Arn") if name else who, action, arn, context,
            self.stack.policies_of(name) if name else [], self.stack.policies_for(service),
            gates + (self.stack.boundaries_of(name) if name else []))

    def grants(self, who: str) -> set[str]:
        """Every action of every Allow statement, prefixed with the statement's Sid."""
        return {f"{statement['Sid']} {action}" for policy in self.stack.policies_of(ALL_PRINCIPALS[who])
                for statement in iam.statements(policy) if statement["Effect"] == "Allow"
                for action in iam.as_list(statement["Action"])}


def to_iam_action(call: dict) -> tuple[str, str, dict[str, str]]:
    """Maps a recorded call to IAM: action, object, context."""
    method, key, query = call["method"], call["key"], call["query"]
    prefix = {"s3:prefix": query["prefix"]} if "prefix" in query else {}
    if not key:
        if "delete" in query:
            return "s3:DeleteObject", f"{MEDIA}/thumbnail.jpg", {}
        return "s3:ListBucketMultipartUploads" if "uploads" in query else "s3:ListBucket", "bucket", prefix
    if "uploadId" in query and method in ("GET", "DELETE"):
        return {"GET": "s3:ListMultipartUploadParts", "DELETE": "s3:AbortMultipartUpload"}[method], key, {}
    return {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "POST": "s3:PutObject",
            "DELETE": "s3:DeleteObject"}[method], key, {}


def load_calls(file: Path) -> list[dict]:
    """The calls, except those of the tests themselves, which inspect the bucket."""
    calls = [json.loads(line) for line in file.read_text().splitlines()]
    return [call for call in calls if call["who"] != "test"]


def find_denied_calls(judge: PolicySimulator, calls: list[dict]) -> list[str]:
    """Calls that succeeded locally, or found no object, and that the policies would deny."""
    denied = set()
    for call in calls:
        who, status = call["who"], call["status"]
        if status >= 400 and status not in (404, 412):
            continue
        action, of, context = to_iam_action(call)
        decision = judge.decide(who, action, of, context)
        if not decision.allowed:
            denied.add(f"{who} {action} {of} {context or ''}: {decision.why}")
        elif call.get("tagged") and not judge.decide(who, "s3:PutObjectTagging", of, context).allowed:
            denied.add(f"{who} s3:PutObjectTagging {of}")
        elif status == 404 and action == "s3:GetObject" and not judge.decide(who, "s3:ListBucket", "bucket", {}).allowed:
            denied.add(f"{who} received 404 for {of}, but S3 returns 403 to principals that may not list")
    return sorted(denied)
