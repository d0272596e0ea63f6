#!/bin/sh
# Key material of your own: wrapped with openssl for the device, which alone can unwrap it. The key can
# lose it and get it back; any other material is refused.
set -eu
cd "$(mktemp --directory)"
query() { aws kms "$@" --output text; }

key=$(query create-key --origin EXTERNAL --query KeyMetadata.KeyId)
openssl rand -out material 32

import() {
    query get-parameters-for-import --key-id "$key" --wrapping-algorithm RSAES_OAEP_SHA_256 \
        --wrapping-key-spec RSA_2048 --query '[PublicKey, ImportToken]' > parameters
    cut -f 1 parameters | base64 -d > wrapping.der
    cut -f 2 parameters | base64 -d > token
    openssl pkeyutl -encrypt -pubin -keyform DER -inkey wrapping.der -in "$1" -out wrapped \
        -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
    aws kms import-key-material --key-id "$key" --encrypted-key-material fileb://wrapped \
        --import-token fileb://token --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE > /dev/null
}

import material
printf 'a secret' > secret
query encrypt --key-id "$key" --plaintext fileb://secret --query CiphertextBlob | base64 -d > sealed

aws kms delete-imported-key-material --key-id "$key" > /dev/null
if aws kms decrypt --ciphertext-blob fileb://sealed > /dev/null 2> refused; then
    echo "it decrypts without key material" >&2
    exit 1
fi
openssl rand -out other 32
if import other 2>> refused; then
    echo "other key material is taken" >&2
    exit 1
fi

import material
query decrypt --ciphertext-blob fileb://sealed --query Plaintext | base64 -d | cmp - secret
shred -u material other
echo "$key decrypts again, with the same material"
