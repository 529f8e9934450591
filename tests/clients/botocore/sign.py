"""Signs requests with botocore, the reference for the signatures in tests/e2e/signing.rs.

Reads a JSON list of cases from standard input and writes a JSON list of answers: a presigned URL for
{"kind": "presign"}, the signature of a policy for {"kind": "policy"}.
"""

import datetime
import json
import sys
from urllib.parse import quote

import botocore.auth
from botocore.auth import S3SigV4PostAuth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def freeze(now_ms):
    moment = datetime.datetime.fromtimestamp(now_ms // 1000, datetime.timezone.utc)
    botocore.auth.get_current_datetime = lambda *_, **__: moment.replace(tzinfo=None)
    return moment


def presign(case, credentials):
    path = quote(case["key"], safe="/~")
    query = "&".join(f"{quote(n, safe='~')}={quote(v, safe='~')}" for n, v in case["query"])
    url = f"{case['base']}/{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=case["method"], url=url, headers=dict(case["headers"]))
    S3SigV4QueryAuth(credentials, "s3", case["region"], expires=case["expires_secs"]).add_auth(request)
    return request.url


def policy(case, credentials, moment):
    request = AWSRequest(method="POST", url=case["base"])
    request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    return S3SigV4PostAuth(credentials, "s3", case["region"]).signature(case["policy"], request)


def main():
    answers = []
    for case in json.load(sys.stdin):
        moment = freeze(case["now_ms"])
        credentials = Credentials(case["access_key_id"], case["secret_access_key"], case["session_token"])
        sign = presign(case, credentials) if case["kind"] == "presign" else policy(case, credentials, moment)
        answers.append(sign)
    json.dump(answers, sys.stdout)


main()
