// Login tokens with a MAC: whoever has no access to the key can neither make nor change one.
//
//     node tokens.cjs

const { KMSClient, CreateKeyCommand, GenerateMacCommand, VerifyMacCommand } =
  require("@aws-sdk/client-kms");

const kms = new KMSClient({}); // endpoint, Region and credentials are found in the environment
const MacAlgorithm = "HMAC_SHA_256";

async function issue(KeyId, claims) {
  const Message = Buffer.from(JSON.stringify(claims));
  const { Mac } = await kms.send(new GenerateMacCommand({ KeyId, MacAlgorithm, Message }));
  return `${Message.toString("base64url")}.${Buffer.from(Mac).toString("base64url")}`;
}

/** The claims of a token, or null if nobody issued it. */
async function check(KeyId, token) {
  const [Message, Mac] = token.split(".").map((part) => Buffer.from(part, "base64url"));
  try {
    await kms.send(new VerifyMacCommand({ KeyId, MacAlgorithm, Message, Mac }));
  } catch (error) {
    if (error.name === "KMSInvalidMacException") return null;
    throw error;
  }
  const claims = JSON.parse(Message);
  return claims.until > Date.now() ? claims : null;
}

async function main() {
  const made = await kms.send(
    new CreateKeyCommand({ KeySpec: "HMAC_256", KeyUsage: "GENERATE_VERIFY_MAC" }),
  );
  const key = made.KeyMetadata.Arn;
  const token = await issue(key, { user: "ana", until: Date.now() + 3_600_000 });
  const { user } = await check(key, token);

  const claims = Buffer.from(JSON.stringify({ user: "root", until: Date.now() + 3_600_000 }));
  const forged = `${claims.toString("base64url")}.${token.split(".")[1]}`;
  if ((await check(key, forged)) !== null) throw new Error("a forged token is taken");
  const old = await issue(key, { user: "ana", until: Date.now() - 1 });
  if ((await check(key, old)) !== null) throw new Error("a token that has ended is taken");
  console.log(`the token is ${user}'s; the forged one and the old one are refused`);
}

main();
