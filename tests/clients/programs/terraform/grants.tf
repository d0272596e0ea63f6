# Grants; every argument of one makes it anew, so that revision 2 replaces them by other names.

resource "aws_kms_grant" "equals" {
  name              = "equals-${var.revision}"
  key_id            = aws_kms_key.main.key_id
  grantee_principal = aws_iam_role.deploy.arn
  operations        = ["Encrypt", "Decrypt", "GenerateDataKey"]
  constraints {
    encryption_context_equals = { stage = "test", part = "one" }
  }
}

resource "aws_kms_grant" "subset" {
  name               = "subset-${var.revision}"
  key_id             = aws_kms_key.main.arn
  grantee_principal  = aws_iam_user.ana.arn
  retiring_principal = aws_iam_role.deploy.arn
  operations         = ["Decrypt", "CreateGrant"]
  constraints {
    encryption_context_subset = { stage = "test" }
  }
}

resource "aws_kms_grant" "plain" {
  name               = "plain-${var.revision}"
  key_id             = aws_kms_key.kind["ECC_NIST_P256 SIGN_VERIFY"].key_id
  grantee_principal  = aws_iam_role.deploy.arn
  retiring_principal = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root"
  retire_on_delete   = true
  operations         = ["Sign", "Verify", "GetPublicKey", "DescribeKey"]
}
