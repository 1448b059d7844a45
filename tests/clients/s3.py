"""An S3 server (moto) with the bucket "sounds".

Prints its address, the id of a key and its secret on one line, and serves until its standard input ends. With the
argument "signed", requests have to be signed by that key; moto then refuses all lists, as it signs their addresses in
another form.
"""

import json
import sys
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
address = f"http://{host}:{port}"
options = {
    "endpoint_url": address,
    "region_name": "us-east-1",
    "aws_access_key_id": "setup",
    "aws_secret_access_key": "setup",
}
boto3.client("s3", **options).create_bucket(Bucket="sounds")
iam = boto3.client("iam", **options)
iam.create_user(UserName="hub")
allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
iam.put_user_policy(UserName="hub", PolicyName="sounds", PolicyDocument=policy)
key = iam.create_access_key(UserName="hub")["AccessKey"]
if sys.argv[1:] == ["signed"]:
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset-auth", b"0", headers, method="POST"))
print(address, key["AccessKeyId"], key["SecretAccessKey"], flush=True)
sys.stdin.read()
