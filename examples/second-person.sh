#!/bin/sh
# Somebody else with an access key of their own, who may decrypt what is meant for their team with one
# key, and nothing else.
set -eu
cd "$(mktemp --directory)"
umask 077
query() { aws kms "$@" --output text; }

key=$(query create-key --description "of the team" --query KeyMetadata.Arn)
other=$(query create-key --query KeyMetadata.Arn)

cat > policy.json <<POLICY
{ "Version": "2012-10-17",
  "Statement": [{
    "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "$key",
    "Condition": { "StringEquals": { "kms:EncryptionContext:team": "red" } } }] }
POLICY
kmsctl iam user create bo > /dev/null
kmsctl iam policy put --user bo team-red policy.json > /dev/null
kmsctl iam key create bo > credentials

printf 'for red' > message
seal() { query encrypt --key-id "$1" --plaintext fileb://message --encryption-context "team=$2" \
    --query CiphertextBlob | base64 -d > "$3"; }
seal "$key" red red
seal "$key" blue blue
seal "$other" red elsewhere

# The rest is done by Bo.
export AWS_SHARED_CREDENTIALS_FILE="$PWD/credentials" AWS_PROFILE=bo
query decrypt --ciphertext-blob fileb://red --encryption-context team=red --query Plaintext |
    base64 -d | cmp - message
refused() {
    if "$@" > /dev/null 2> said; then
        echo "may do this: $*" >&2
        exit 1
    fi
    grep -q AccessDeniedException said || { cat said >&2; exit 1; }
}
refused aws kms decrypt --ciphertext-blob fileb://blue --encryption-context team=blue
refused aws kms decrypt --ciphertext-blob fileb://elsewhere --encryption-context team=red
refused aws kms encrypt --key-id "$key" --plaintext fileb://message --encryption-context team=red
refused aws kms schedule-key-deletion --key-id "$key"
refused aws kms create-key
echo "bo decrypts what is red's, and is refused five other things"
