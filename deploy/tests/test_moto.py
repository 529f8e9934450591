"""Deploys the template to moto's CloudFormation, checks the created resources, deploys a second stack, and deletes
that again.

moto implements CloudFormation incompletely: resources that it drops are listed here, and checked in the expanded template
instead. A dropped resource that is not listed, or a listed one that is no longer dropped, is an error.
"""

import importlib.machinery
import importlib.util
import io
import json
import logging
import os
import re
import warnings
import zipfile
from pathlib import Path

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

from expected_access import MEDIA, NOTIFY_PARAMETERS, OUTCOMES, WORKFLOW_PARAMETERS
from template import REGION, TEST_PARAMETERS, STACK, Stack

# Types that moto does not create; it fails if another resource refers to the ARN of one.
TYPES_DROPPED = {
    "AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard", "AWS::Lambda::EventInvokeConfig", "AWS::Lambda::Url",
    "AWS::Logs::MetricFilter", "AWS::Route53Resolver::FirewallDomainList", "AWS::Route53Resolver::FirewallRuleGroup",
    "AWS::Route53Resolver::FirewallRuleGroupAssociation", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy",
}
# Properties that moto drops: the bucket's settings except encryption, inline policies of users, and the architecture
# and layers of functions.
BUCKET_SETTINGS_DROPPED = ("public_access_block", "bucket_cors", "bucket_lifecycle_configuration",
                           "bucket_ownership_controls")


def is_dropped(ask) -> bool:
    try:
        ask()
    except ClientError:
        return True
    return False


def moto_template(stack: Stack) -> str:
    """The template without resources that moto cannot create, with conditions resolved: moto does not support `AWS::NoValue` in
    lists."""
    template = json.loads(json.dumps(stack.resolve_conditions(stack.plain)))
    dropped = {name for name, about in template["Resources"].items() if about["Type"] in TYPES_DROPPED}
    template["Resources"] = {name: about for name, about in template["Resources"].items() if name not in dropped}
    for about in template["Resources"].values():
        if "DependsOn" in about:
            awaited = about["DependsOn"] if isinstance(about["DependsOn"], list) else [about["DependsOn"]]
            about["DependsOn"] = [name for name in awaited if name not in dropped]
    template["Outputs"] = {name: about for name, about in template["Outputs"].items()
                           if not any(f'"{lost}"' in json.dumps(about) for lost in dropped)}
    return json.dumps(template)


def put_artifacts() -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="artefacts", CreateBucketConfiguration={"LocationConstraint": REGION})
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as writing:
        writing.writestr("bootstrap", "#!/bin/sh\n")
    for name in ("preview", "render", "reconcile", "workflow", "layer"):
        s3.put_object(Bucket="artefacts", Key=f"{name}.zip", Body=package.getvalue())


def check(report, stack: Stack) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        os.environ[name] = "made-up"
    os.environ["AWS_DEFAULT_REGION"] = REGION
    warnings.simplefilter("ignore")
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    with mock_aws():
        put_artifacts()
        check_deployment(report, stack)
        check_account_commands(report)
    check_bucket(report, stack)


def check_deployment(report, stack: Stack) -> None:
    formation = boto3.client("cloudformation")
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in TEST_PARAMETERS.items()]

    def state() -> str:
        return formation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]

    formation.create_stack(StackName=STACK, TemplateBody=moto_template(stack), Parameters=parameters,
                           Capabilities=["CAPABILITY_NAMED_IAM"])
    report.check(state() == "CREATE_COMPLETE", "moto creates the stack", state())
    made = {about["LogicalResourceId"]
            for about in formation.list_stack_resources(StackName=STACK)["StackResourceSummaries"]}
    kinds = {stack.resources[name]["Type"] for name in stack.resources.keys() - made}
    report.check(kinds == TYPES_DROPPED, "moto drops exactly the listed types", " ".join(sorted(kinds ^ TYPES_DROPPED)))

    sqs = boto3.client("sqs")
    outputs = {about["OutputKey"]: about["OutputValue"]
               for about in formation.describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]}
    queue = sqs.get_queue_attributes(QueueUrl=outputs["UploadQueueUrl"], AttributeNames=["All"])["Attributes"]
    redrive = json.loads(queue["RedrivePolicy"])
    report.check(redrive["deadLetterTargetArn"].split(":")[-1] == outputs["DeadLettersUrl"].split("/")[-1]
                 and redrive["maxReceiveCount"] == 5 and queue["VisibilityTimeout"] == "1800"
                 and queue["SqsManagedSseEnabled"] == "true", "the queue moves messages to its dead-letter queue after five attempts")

    functions = boto3.client("lambda")
    found = {about["FunctionName"].removeprefix(f"{STACK}-"): about
             for about in functions.list_functions()["Functions"]}
    report.check(found.keys() == {"preview", "render", "reconcile"}, "there are three functions", " ".join(found))
    report.check(all(found[name]["VpcConfig"]["SubnetIds"] for name in ("preview", "render"))
                 and not found["reconcile"].get("VpcConfig", {}).get("SubnetIds"), "F17: decoders run in their own network")
    report.check(len({about["Role"] for about in found.values()}) == 3, "each function has its own role")
    [mapping] = functions.list_event_source_mappings()["EventSourceMappings"]
    report.check(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"] and mapping["BatchSize"] == 1
                 and mapping["ScalingConfig"] == {"MaximumConcurrency": 10}
                 and mapping["FunctionArn"].endswith("-preview"), "E14: the queue invokes preview, with at most ten at a time")
    network = boto3.client("ec2")
    ours = next(about["VpcId"] for about in network.describe_vpcs()["Vpcs"] if about["CidrBlock"] == "10.42.0.0/22")
    inside = [{"Name": "vpc-id", "Values": [ours]}]
    ways = [route for table in network.describe_route_tables(Filters=inside)["RouteTables"]
            for route in table["Routes"] if route.get("GatewayId") != "local" and "DestinationPrefixListId" not in route
            and not route.get("GatewayId", "").startswith("vpce-")]
    gateways = network.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [ours]}])
    report.check(not ways and not gateways["InternetGateways"], "F17: that network has no route except to S3", str(ways or ""))

    s3, name = boto3.client("s3"), outputs["BucketName"]
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    report.check(rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256", "the bucket is encrypted")
    kept = [what for what in BUCKET_SETTINGS_DROPPED if not is_dropped(lambda what=what: getattr(s3, f"get_{what}")(Bucket=name))]
    report.check(not kept, "moto drops the listed settings of the bucket", " ".join(kept))

    # moto cannot update a function with a layer, so other values are tested in a second stack in the same account.
    second = {"PreviewTimeout": "120", "LogRetentionDays": "7", "BucketName": "glimpse-second", "Network": "open"} | WORKFLOW_PARAMETERS
    formation.create_stack(StackName="second", TemplateBody=moto_template(Stack(**second)), Capabilities=["CAPABILITY_NAMED_IAM"],
                           Parameters=parameters + [{"ParameterKey": n, "ParameterValue": v} for n, v in second.items()])
    hidden = {sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["VisibilityTimeout"]
              for url in sqs.list_queues()["QueueUrls"] if "UploadQueue" in url}
    kept = {about["logGroupName"]: about["retentionInDays"] for about in boto3.client("logs").describe_log_groups()["logGroups"]}
    report.check(hidden == {"1800", "720"} and kept["/aws/lambda/second-preview"] == 7
                 and kept["/aws/lambda/glimpse-preview"] == 30, "two stacks in one account, each with its parameters")
    engine = boto3.client("stepfunctions")
    # moto drops the type and the substitutions of a machine.
    machines = {about["name"]: json.loads(engine.describe_state_machine(stateMachineArn=about["stateMachineArn"])["definition"])
                for about in engine.list_state_machines()["stateMachines"]}
    report.check({name: machine["StartAt"] for name, machine in machines.items()}
                 == {"second-video": "Probe", "second-begin": "Begin", "second-backfill": "Defaults"},
                 "the second stack processes uploads with a state machine", " ".join(machines))
    # The first one is kept: moto does not delete the resources of a network in the required order.
    formation.delete_stack(StackName="second")
    left = [name for name in [about["FunctionName"] for about in functions.list_functions()["Functions"]]
            + sqs.list_queues()["QueueUrls"] if "second" in name]
    report.check(not left, "a stack can be deleted", " ".join(left))


def check_account_commands(report) -> None:
    """Tests `deploy/account`, which creates and deletes resources outside of the stack."""
    loader = importlib.machinery.SourceFileLoader("account", str(Path(__file__).resolve().parent.parent / "account"))
    program = importlib.util.module_from_spec(importlib.util.spec_from_loader("account", loader))
    loader.exec_module(program)
    # moto does not support account settings.
    refused = program.room(REGION, STACK)
    rooms = []
    for free in (10, 980):
        program.free_concurrency = lambda functions, free=free: free
        rooms += [program.room(REGION, name)["room"] for name in (STACK, "unknown")]
    report.check(rooms == [0, 0, 900, 880] and refused["room"] is None and "unseen" in refused,
                 "a stack keeps its reserved concurrency, and an account keeps 100 unreserved", str(rooms))
    user = f"{STACK}-edge"
    first, second = program.new_key(REGION, user), program.new_key(REGION, user)
    report.check(first["older"] == [] and second["older"] == [first["S3_ACCESS_KEY_ID"]],
                 "a second key can be created, and the first works until it is deleted")
    try:
        program.new_key(REGION, user)
        third = "made"
    except SystemExit as refusal:
        third = str(refusal)
    report.check("two keys already" in third, "a third key is rejected, with instructions", third)
    dropped = program.drop_keys(REGION, user, second["S3_ACCESS_KEY_ID"])["dropped"]
    kept = program.keys(boto3.client("iam"), user)
    report.check(dropped == [first["S3_ACCESS_KEY_ID"]] and kept == [second["S3_ACCESS_KEY_ID"]], "the older key is deleted")
    program.drop_keys(REGION, user, None)
    report.check(program.keys(boto3.client("iam"), user) == [] and program.drop_keys(REGION, "unknown", None)["dropped"] == [],
                 "all keys are deleted; an unknown user has none")
    s3 = boto3.client("s3")
    name = program.outputs(REGION, STACK)["BucketName"]
    for number in range(1001):
        s3.put_object(Bucket=name, Key=f"media/{number}", Body=b"x")
    s3.create_multipart_upload(Bucket=name, Key="uploads/unfinished")
    removed = program.drop_videos(REGION, name)["removed"]
    left = [about["Name"] for about in s3.list_buckets()["Buckets"]]
    report.check(removed == 1001 and name not in left, "drop-videos deletes every video and the bucket", f"{removed}")


def check_dashboard(report, stack: Stack) -> None:
    """Checks the dashboard, for the parts that a stack has."""
    alarms = stack.resources_of_type("AWS::CloudWatch::Alarm")
    silent = [name for name, about in alarms.items() if about["AlarmActions"] != [stack.lookup("Alarms")]]
    widgets = json.loads(stack.properties("Dashboard")["DashboardBody"])["widgets"]
    shown = sorted(widgets[0]["properties"]["alarms"])
    report.check(len(alarms) >= 6 and not silent and shown == sorted(stack.lookup(name, "Arn") for name in alarms),
                 "E12: every alarm has the topic as action and is on the dashboard", " ".join(silent) or f"{len(alarms)}")
    # [namespace, name, dimension, value, …], and optional display settings.
    metrics = [[word for word in metric if isinstance(word, str)]
               for widget in widgets for metric in widget["properties"].get("metrics", [])]
    drawn = {(namespace, name, *rest[1::2]) for namespace, name, *rest in metrics}
    wanted = {(about["Namespace"], about["MetricName"], *(of["Value"] for of in about.get("Dimensions", [])))
              for about in alarms.values() if "MetricName" in about}
    places = [(x, y) for at in widgets for x in range(at["x"], at["x"] + at["width"])
              for y in range(at["y"], at["y"] + at["height"])]
    report.check(wanted <= drawn and len(places) == len(set(places)), "the dashboard shows the metric of every alarm, and widgets do not overlap",
                 "; ".join(map(str, sorted(wanted - drawn))) or f"{len(widgets)} widgets")


def tag_of(stack: Stack) -> str:
    return stack.properties("Render")["Environment"]["Variables"]["S3_ON_DEMAND_TAG"]


def check_names(report, stack: Stack) -> None:
    """F17: checks which names the resolver of the decoders' network resolves."""
    group = stack.properties("NoNamesButS3")["FirewallRules"]
    lists = {stack.lookup(name): about["Domains"] for name, about in stack.resources_of_type("AWS::Route53Resolver::FirewallDomainList").items()}
    rules = [(rule["Action"], lists[rule["FirewallDomainListId"]]) for rule in sorted(group, key=lambda rule: rule["Priority"])]
    host = f"s3.{REGION}.amazonaws.com"
    [of] = stack.resources_of_type("AWS::Route53Resolver::FirewallRuleGroupAssociation").values()
    report.check(rules == [("ALLOW", [host, f"*.{host}"]), ("BLOCK", ["*"])]
                 and of["VpcId"] == stack.lookup("Vpc") and of["FirewallRuleGroupId"] == stack.lookup("NoNamesButS3"),
                 "F17: that network resolves only S3's names", str(rules))
    opened = Stack(Network="open")
    report.check(not any(about["Type"].startswith("AWS::Route53Resolver") for about in opened.resources.values())
                 and "DecodersByTheirNetworkAlone" not in json.dumps(opened.properties("BucketPolicy")),
                 "without that network there are no firewall rules")


def check_bucket(report, stack: Stack) -> None:
    """Checks properties that moto drops, in the template."""
    says = stack.properties("Bucket")
    report.check(set(says["PublicAccessBlockConfiguration"].values()) == {True}, "the bucket is private")
    report.check(says["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}, "U6: ACLs are off")
    [cors] = says["CorsConfiguration"]["CorsRules"]
    report.check(cors["AllowedOrigins"] == TEST_PARAMETERS["AllowedOrigins"].split(",") and "ETag" in cors["ExposedHeaders"]
                 and set(cors["AllowedMethods"]) == {"GET", "HEAD", "PUT", "POST", "DELETE"},
                 "U13: CORS allows only the configured origins, and exposes the ETag")
    rules = {rule["Id"]: rule for rule in says["LifecycleConfiguration"]["Rules"]}
    report.check(rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
                 and "Prefix" not in rules["unfinished-uploads"] and rules["slots"]["Prefix"] == "slots/"
                 and "sources" not in rules, "U11: unfinished uploads expire after a day, and sources are kept")
    on_demand = {"Id": "on-demand", "Status": "Enabled", "Prefix": "media/", "ExpirationInDays": "90",
                 "TagFilters": [{"Key": "glimpse", "Value": "on-demand"}]}
    report.check(rules["on-demand"] == on_demand and tag_of(stack) == "glimpse=on-demand",
                 "only images on demand expire, after 90 days, by their tag", str(rules.get("on-demand")))
    for kept in ({"OnDemandExpireDays": "0"}, {"SourceExpiryDays": "30"}):
        other = Stack(**kept)
        ids = {rule["Id"] for rule in other.properties("Bucket")["LifecycleConfiguration"]["Rules"]}
        allowed = [statement["Sid"] for policy in other.policies_of("RenderRole") for statement in policy["Statement"]]
        report.check("on-demand" not in ids and tag_of(other) == "" and "TagPicturesOnDemand" not in allowed,
                     f"images on demand are kept: {kept}")
    expiring = Stack(SourceExpiryDays="30").properties("Bucket")["LifecycleConfiguration"]["Rules"]
    report.check({"Id": "sources", "Status": "Enabled", "Prefix": "uploads/", "ExpirationInDays": "30"} in expiring,
                 "only sources expire with SourceExpiryDays")
    [event] = says["NotificationConfiguration"]["QueueConfigurations"]
    report.check(event["Filter"] == {"S3Key": {"Rules": [{"Name": "prefix", "Value": "uploads/"}]}}
                 and event["Queue"] == stack.lookup("UploadQueue", "Arn"), "E4: only uploads/ sends events")
    report.check(stack.resources["Bucket"]["DeletionPolicy"] == "Retain", "videos are kept when the stack is deleted")
    check_names(report, stack)
    report.check(stack.properties("Render")["ReservedConcurrentExecutions"] == "20"
                 and "ReservedConcurrentExecutions" not in Stack(RenderReserved="0").properties("Render"),
                 "images on demand have a separate concurrency limit, unless it is disabled")
    for variant in ({}, NOTIFY_PARAMETERS, {"Workflow": "stepfunctions"}, {"Backfill": "yes"}, NOTIFY_PARAMETERS | WORKFLOW_PARAMETERS):
        check_dashboard(report, Stack(**variant))
    whole = Stack(**NOTIFY_PARAMETERS, **WORKFLOW_PARAMETERS)
    spaces = {about["MetricTransformations"][0]["MetricNamespace"] for about in whole.resources_of_type("AWS::Logs::MetricFilter").values()}
    spaces |= {whole.properties(name)["Environment"]["Variables"].get("METRICS_NAMESPACE")
               for name in whole.resources_of_type("AWS::Serverless::Function")}
    report.check(len(spaces) == 1 and None not in spaces, "all metrics have one namespace", " ".join(map(str, spaces)))
    notify_stack = Stack(**NOTIFY_PARAMETERS)
    events = [(event["Event"], event["Queue"], *(rule["Value"] for rule in event["Filter"]["S3Key"]["Rules"]))
              for event in notify_stack.properties("Bucket")["NotificationConfiguration"]["QueueConfigurations"]]
    uploads, outcomes = notify_stack.lookup("UploadQueue", "Arn"), notify_stack.lookup("NotifyQueue", "Arn")
    report.check(events == [("s3:ObjectCreated:*", uploads, "uploads/"),
                            *[("s3:ObjectCreated:*", outcomes, "media/", key.removeprefix(MEDIA)) for key in OUTCOMES]]
                 and {"UploadQueuePolicy", "NotifyQueuePolicy"} <= set(notify_stack.resources["Bucket"]["DependsOn"]),
                 "E4: with webhooks, outcomes trigger notify, and no other object of media/ sends events")
    variables = notify_stack.properties("Notify")["Environment"]["Variables"]
    report.check(variables["NOTIFY_QUEUE_URL"] == notify_stack.lookup("NotifyQueue") and variables["PUBLIC_URL"] == NOTIFY_PARAMETERS["PublicUrl"]
                 and variables["SNS_TOPIC_ARN"] == notify_stack.lookup("Videos") and variables["S3_BUCKET"] == notify_stack.lookup("Bucket")
                 and "VpcConfig" not in notify_stack.properties("Notify"), "notify has its variables, and Internet access")
    report.check(notify_stack.resources_of_type("AWS::EC2::VPCEndpoint").keys() == {"WayToTheBucket"}
                 and notify_stack.properties("Preview")["Environment"] == stack.properties("Preview")["Environment"],
                 "F17: webhooks give decoders no other route and no other variables")
    report.check(not any("Notify" in name for name in stack.resources), "without webhooks there are no resources of notify")
    report.check(stack.source["Parameters"]["WebhookSecrets"]["NoEcho"] is True, "U15: webhook secrets are not shown")
    report.check(not stack.resources_of_type("AWS::SNS::Subscription")
                 and len(Stack(AlarmEmail="a@example.com").resources_of_type("AWS::SNS::Subscription")) == 1, "alarms are mailed only with AlarmEmail")
    report.check(not stack.resources_of_type("AWS::IAM::AccessKey") and "SecretAccessKey" not in json.dumps(stack.plain),
                 "U15: the stack contains no secret")
    engine = Stack(**WORKFLOW_PARAMETERS)
    notification = engine.properties("Bucket")["NotificationConfiguration"]
    report.check(notification == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}, "QueueConfigurations": []}
                 and "EventBridgeConfiguration" not in says["NotificationConfiguration"],
                 "uploads go to EventBridge with a state machine, and to the queue otherwise; never to both")
    detail = engine.properties("UploadsRule")["EventPattern"]["detail"]
    report.check(detail == {"bucket": {"name": [engine.lookup("Bucket")]}, "object": {"key": [{"wildcard": "uploads/*/*"}]}},
                 "E4: only events of uploads/ start executions")
    machines = engine.resources_of_type("AWS::StepFunctions::StateMachine")
    slots = {name: set(re.findall(r"\$\{(\w+)\}", about["DefinitionString"])) for name, about in machines.items()}
    kinds = {name: about["StateMachineType"] for name, about in machines.items()}
    traced = [name for name, about in machines.items() if about.get("TracingConfiguration", {}).get("Enabled")]
    report.check(not traced and "xray" not in json.dumps(engine.plain), "X-Ray is not enabled, as documented", " ".join(traced))
    report.check(kinds == {"VideoWorkflow": "STANDARD", "BeginWorkflow": "EXPRESS", "BackfillWorkflow": "STANDARD"}
                 and all(slots[name] == about["DefinitionSubstitutions"].keys() for name, about in machines.items()),
                 "state machines have exactly the substitutions that they use", " ".join(kinds))
    report.check(not any(stack.resources_of_type(kind) for kind in ("AWS::StepFunctions::StateMachine", "AWS::Events::Target")),
                 "without the parameters there is no state machine")
    open_network = Stack(Network="open")
    report.check(not open_network.resources_of_type("AWS::EC2::VPC") and "VpcConfig" not in open_network.properties("Preview"),
                 "the network is optional")
