# What is read back, by every data source about what this daemon has.

resource "aws_kms_ciphertext" "secret" {
  key_id    = aws_kms_key.with_policy.key_id
  plaintext = "of the resource"
  context   = { stage = "test" }
}

data "aws_kms_ciphertext" "secret" {
  key_id    = aws_kms_key.with_policy.key_id
  plaintext = "of the data source"
}

data "aws_kms_secrets" "opened" {
  secret {
    name    = "resource"
    payload = aws_kms_ciphertext.secret.ciphertext_blob
    context = { stage = "test" }
  }
  secret {
    name    = "data"
    payload = data.aws_kms_ciphertext.secret.ciphertext_blob
  }
}

data "aws_kms_key" "main" {
  key_id = aws_kms_key.main.arn
}

data "aws_kms_key" "imported" {
  key_id = aws_kms_external_key.imported.id
}

data "aws_kms_key" "primary" {
  key_id     = aws_kms_key.primary.id
  depends_on = [aws_kms_replica_key.replica]
}

data "aws_kms_alias" "main" {
  name = aws_kms_alias.main.name
}

data "aws_kms_public_key" "kind" {
  for_each = toset([for kind in var.kinds : kind if length(regexall("^(RSA|ECC)", kind)) > 0])

  key_id = aws_kms_key.kind[each.key].arn
}

data "aws_iam_user" "ana" {
  user_name = aws_iam_user.ana.name
}

data "aws_iam_role" "deploy" {
  name = aws_iam_role.deploy.name
}

data "aws_iam_policy" "use" {
  arn = aws_iam_policy.use.arn
}

data "aws_iam_policy" "by_name" {
  name       = "most"
  depends_on = [aws_iam_policy.most]
}

data "aws_iam_group" "team" {
  group_name = aws_iam_group.team.name
  depends_on = [aws_iam_group_membership.team]
}

data "aws_iam_access_keys" "ana" {
  user       = aws_iam_user.ana.name
  depends_on = [aws_iam_access_key.ana]
}

data "aws_iam_users" "team" {
  path_prefix = "/team/"
  depends_on  = [aws_iam_user.ana, aws_iam_user.renamed]
}

data "aws_iam_roles" "team" {
  path_prefix = "/team/"
  depends_on  = [aws_iam_role.deploy]
}

data "aws_iam_session_context" "deploy" {
  arn        = "arn:aws:sts::${data.aws_caller_identity.current.account_id}:assumed-role/deploy/someone"
  depends_on = [aws_iam_role.deploy]
}

data "aws_iam_principal_policy_simulation" "ana" {
  for_each = toset(["kms:Decrypt", "kms:Sign"])

  policy_source_arn = aws_iam_user.ana.arn
  action_names      = [each.key]
  resource_arns     = [aws_kms_key.main.arn]
  context {
    key    = "kms:EncryptionContext:stage"
    type   = "string"
    values = ["testing"]
  }
  depends_on = [aws_iam_user_policy.ana, aws_iam_user_policy_attachment.ana]
}
