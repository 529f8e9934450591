"""Decides what template.yaml comes to: SAM translated, parameters and references filled in, without an account.

The values of references are made up, but of AWS's shapes, so that policies can be judged.
"""

import json
import logging
import os
import re
from pathlib import Path

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).resolve().parent.parent / "template.yaml"
ACCOUNT, REGION, STACK = "123456789012", "eu-central-1", "glimpse"
PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::StackName": STACK, "AWS::Partition": "aws",
          "AWS::URLSuffix": "amazonaws.com"}
# What has to be said for it to be deployed.
SAID = {"AllowedOrigins": "https://video.example.com,https://app.example.com"}
ABSENT = object()


def arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"


def attribute(name: str, kind: str, which: str, properties: dict) -> str:
    """What GetAtt answers."""
    if which != "Arn":
        return f"{which}-of-{name}"
    match kind:
        case "AWS::S3::Bucket":
            return f"arn:aws:s3:::{properties['BucketName']}"
        case "AWS::SQS::Queue":
            return arn("sqs", name)
        case "AWS::IAM::Role":
            return f"arn:aws:iam::{ACCOUNT}:role/{name}"
        case "AWS::IAM::User":
            return f"arn:aws:iam::{ACCOUNT}:user/{properties['UserName']}"
        case "AWS::Lambda::Function":
            return arn("lambda", f"function:{properties['FunctionName']}")
        case "AWS::Logs::LogGroup":
            return arn("logs", f"log-group:{properties['LogGroupName']}:*")
        case "AWS::StepFunctions::StateMachine":
            return reference(name, kind, properties)
        case _:
            return arn("made-up", f"{kind}/{name}")


def reference(name: str, kind: str, properties: dict) -> str:
    """What Ref answers."""
    named = {"AWS::S3::Bucket": "BucketName", "AWS::IAM::User": "UserName", "AWS::Lambda::Function": "FunctionName",
             "AWS::Logs::LogGroup": "LogGroupName"}
    if kind == "AWS::SNS::Topic":
        return arn("sns", name)
    if kind == "AWS::StepFunctions::StateMachine":
        return arn("states", f"stateMachine:{properties['StateMachineName']}")
    return properties[named[kind]] if kind in named else f"{name}-id"


class Stack:
    """The plain CloudFormation template that SAM makes, and the same with every reference filled in."""

    def __init__(self, **parameters: str) -> None:
        template = yaml_parse(TEMPLATE.read_text())
        parameters = SAID | parameters
        self.pseudo = PSEUDO
        self.parameters = {}
        for name, about in template["Parameters"].items():
            if name not in parameters and "Default" not in about:
                raise ValueError(f"template.yaml wants the parameter {name}")
            value = str(parameters.get(name, about.get("Default")))
            self.parameters[name] = value.split(",") if about["Type"] == "CommaDelimitedList" else value
        self.source = json.loads(json.dumps(template))
        for about in template["Resources"].values():
            for name in ("CodeUri", "ContentUri"):
                if name in about["Properties"]:
                    about["Properties"][name] = f"s3://artefacts/{Path(about['Properties'][name]).name}"
            # A state machine's definition is as good inline as packaged.
            if uri := about["Properties"].pop("DefinitionUri", None):
                about["Properties"]["Definition"] = json.loads((TEMPLATE.parent / uri).read_text())
        os.environ["AWS_DEFAULT_REGION"] = REGION
        logging.getLogger("samtranslator").setLevel(logging.ERROR)
        said = {name: ",".join(value) if isinstance(value, list) else value for name, value in self.parameters.items()}
        self.plain = json.loads(json.dumps(Translator({}, Parser()).translate(template, said | PSEUDO)))
        self.conditions = self.plain.get("Conditions", {})
        self.resources = {name: about for name, about in self.plain["Resources"].items()
                          if "Condition" not in about or self.is_met(about["Condition"])}
        self.filled = {}
        for name in self.resources:
            self.properties(name)

    def is_met(self, condition: str) -> bool:
        return self.test(self.conditions[condition])

    def test(self, expression: dict) -> bool:
        [(function, arguments)] = expression.items()
        match function:
            case "Fn::Equals":
                left, right = (str(self.fill(argument)) for argument in arguments)
                return left == right
            case "Fn::And":
                return all(self.test(argument) for argument in arguments)
            case "Fn::Or":
                return any(self.test(argument) for argument in arguments)
            case "Fn::Not":
                return not self.test(arguments[0])
            case "Condition":
                return self.is_met(arguments)
        raise ValueError(f"the condition {function} is not known here")

    def properties(self, name: str) -> dict:
        """A resource's properties. One that is asked for while it is filled in has a name that depends on itself."""
        if name not in self.filled:
            about = self.resources[name]
            # Names first: others may ask for them while the rest is being filled in.
            names = {key: value for key, value in about.get("Properties", {}).items() if key.endswith("Name")}
            self.filled[name] = self.fill(names)
            self.filled[name] = self.fill(about.get("Properties", {}))
        return self.filled[name]

    def named(self, name: str, which: str | None = None):
        if name in self.pseudo:
            return self.pseudo[name]
        if name == "AWS::NoValue":
            return ABSENT
        if name in self.parameters:
            return self.parameters[name]
        kind = self.resources[name]["Type"]
        properties = self.properties(name)
        return attribute(name, kind, which, properties) if which else reference(name, kind, properties)

    def fill(self, node):
        if isinstance(node, list):
            return [value for value in map(self.fill, node) if value is not ABSENT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(function, arguments)] = node.items()
            match function:
                case "Ref":
                    return self.named(arguments)
                case "Fn::GetAtt":
                    return self.named(*(arguments if isinstance(arguments, list) else arguments.split(".", 1)))
                case "Fn::If":
                    condition, yes, no = arguments
                    return self.fill(yes if self.is_met(condition) else no)
                case "Fn::Sub":
                    text, more = arguments if isinstance(arguments, list) else (arguments, {})
                    more = self.fill(more)
                    return re.sub(r"\$\{([^}]+)\}", lambda found: str(
                        more[found[1]] if found[1] in more else self.named(*found[1].split(".", 1))), text)
                case "Fn::Join":
                    return arguments[0].join(map(str, self.fill(arguments[1])))
                case "Fn::FindInMap":
                    table, row, column = map(self.fill, arguments)
                    return self.plain["Mappings"][table][row][column]
                case "Fn::Select":
                    return f"{self.fill(arguments[0])}-of-{json.dumps(arguments[1])}"
                case "Fn::GetAZs":
                    return [f"{REGION}a", f"{REGION}b"]
            if function.startswith("Fn::"):
                raise ValueError(f"the function {function} is not known here")
        filled = {key: self.fill(value) for key, value in node.items()}
        return {key: value for key, value in filled.items() if value is not ABSENT}

    def chosen(self, node):
        """A part of the plain template with every `Fn::If` decided, and the rest as it is."""
        if isinstance(node, list):
            return [value for value in map(self.chosen, node) if value is not ABSENT]
        if not isinstance(node, dict):
            return node
        if "Fn::If" in node:
            condition, yes, no = node["Fn::If"]
            return self.chosen(yes if self.is_met(condition) else no)
        if node == {"Ref": "AWS::NoValue"}:
            return ABSENT
        return {key: value for key, value in ((k, self.chosen(v)) for k, v in node.items()) if value is not ABSENT}

    def of_type(self, kind: str) -> dict[str, dict]:
        return {name: self.properties(name) for name, about in self.resources.items() if about["Type"] == kind}

    @property
    def place(self) -> dict[str, str]:
        """Where it is and what it is called."""
        pseudo = {name.removeprefix("AWS::"): value for name, value in self.pseudo.items()}
        return {"account": pseudo["AccountId"], "region": pseudo["Region"], "partition": pseudo["Partition"],
                "stack": pseudo["StackName"], "bucket": self.named("Bucket")}

    def policies_of(self, name: str) -> list[dict]:
        """The policies of a role or user."""
        properties = self.properties(name)
        return [policy["PolicyDocument"] for policy in properties.get("Policies", [])]

    def boundaries_of(self, name: str) -> list[dict]:
        """What limits the policies of a role or user."""
        return []

    def policies_for(self, service: str) -> list[dict]:
        """The policies of a service's resources."""
        kind = {"s3": "AWS::S3::BucketPolicy", "sqs": "AWS::SQS::QueuePolicy"}.get(service)
        return [about["PolicyDocument"] for about in self.of_type(kind).values()] if kind else []

    def ways_to(self, service: str) -> list[dict]:
        """What limits the way to a service out of the functions' own network, if they have one."""
        return [about["PolicyDocument"] for about in self.of_type("AWS::EC2::VPCEndpoint").values()
                if about["ServiceName"].endswith(f".{service}")]
