# Verifies received webhooks with the snippet of the docs: a valid one is accepted, a modified one is rejected. Reads
# {"received": [{"headers", "body"}], "secrets"} and raises at the first webhook that is not as expected.

import json
import pathlib
import sys

FIRST = "import base64, hashlib, hmac, json, time"
docs = pathlib.Path(__file__).parents[3].joinpath("docs/webhooks.md").read_text(encoding="utf-8")
blocks = [block.split("\n", 1)[1] for block in docs.split("```") if "\n" in block]
module = {}
exec([block for block in blocks if block.startswith(FIRST)][0], module)
verify = module["verify"]


def refuses(*arguments):
    try:
        verify(*arguments)
    except ValueError:
        return True
    return False


request = json.load(sys.stdin)
for each in request["received"]:
    headers, body = each["headers"], each["body"].encode()
    for secret in request["secrets"]:
        assert verify(body, headers, secret) == json.loads(body)
        assert refuses(body + b" ", headers, secret), "another body"
        assert refuses(body, headers, "whsec_" + "BwcH" * 8), "another secret"
        late = dict(headers, **{"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 600)})
        assert refuses(body, late, secret), "another time"
        assert refuses(body, dict(headers, **{"webhook-id": "msg_0"}), secret), "another id"
print(f"verified {len(request['received'])}")
