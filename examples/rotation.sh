#!/bin/sh
# New key material for the same key: what was encrypted before opens as before, and what is encrypted
# from now on is not readable with the old material.
set -eu
cd "$(mktemp --directory)"
printf secret > secret
query() { aws kms "$@" --output text; }

key=$(query create-key --query KeyMetadata.KeyId)
# Every 180 days by itself, and once now.
aws kms enable-key-rotation --key-id "$key" --rotation-period-in-days 180
seal() { query encrypt --key-id "$key" --plaintext fileb://secret --query CiphertextBlob; }
before=$(seal)
aws kms rotate-key-on-demand --key-id "$key" > /dev/null
until [ "$(query list-key-rotations --key-id "$key" --query 'length(Rotations)')" = 1 ]; do
    sleep 0.2
done
after=$(seal)

material() {
    echo "$1" | base64 -d > blob
    query decrypt --ciphertext-blob fileb://blob --query '[Plaintext, KeyMaterialId]'
}
material "$before" > old
material "$after" > new
if [ "$(cut -f 1 old | base64 -d)" != secret ] || [ "$(cut -f 1 new | base64 -d)" != secret ]; then
    echo "what was encrypted does not open" >&2
    exit 1
fi
if [ "$(cut -f 2 old)" = "$(cut -f 2 new)" ]; then
    echo "both are of the same key material" >&2
    exit 1
fi
echo "$key has new material; old ciphertexts open, and re-encrypt moves them to it"
