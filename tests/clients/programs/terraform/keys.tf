# A key of every spec and usage, its alias, and what hangs on keys.

resource "aws_kms_key" "kind" {
  for_each = var.kinds

  customer_master_key_spec = split(" ", each.key)[0]
  key_usage                = split(" ", each.key)[1]
  description              = "${each.key}, revision ${var.revision}"
  is_enabled               = !(local.changed && each.key == "HMAC_256 GENERATE_VERIFY_MAC")
  deletion_window_in_days  = 7
  tags                     = local.tags
}

resource "aws_kms_key" "main" {
  description             = "what the rest of this uses"
  enable_key_rotation     = true
  rotation_period_in_days = local.changed ? 200 : 100
  deletion_window_in_days = local.changed ? 8 : 7
}

resource "aws_kms_alias" "main" {
  name          = "alias/terraform/main"
  target_key_id = local.changed ? aws_kms_key.with_policy.key_id : aws_kms_key.main.key_id
}

resource "aws_kms_alias" "kind" {
  for_each = var.kinds

  name          = "alias/terraform/${replace(each.key, " ", "/")}"
  target_key_id = aws_kms_key.kind[each.key].arn
}

resource "aws_kms_alias" "prefixed" {
  name_prefix   = "alias/terraform/prefix-"
  target_key_id = aws_kms_key.main.id
}

data "aws_iam_policy_document" "key" {
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }
  statement {
    sid       = "Deploy"
    actions   = local.changed ? ["kms:Decrypt"] : ["kms:Encrypt", "kms:Decrypt"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.deploy.arn, aws_iam_user.ana.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:stage"
      values   = ["test"]
    }
  }
}

# A policy that is given with the key …
resource "aws_kms_key" "with_policy" {
  description             = "with a policy"
  policy                  = data.aws_iam_policy_document.key.json
  deletion_window_in_days = 7
}

# … and one that is a resource of its own.
resource "aws_kms_key_policy" "main" {
  key_id = aws_kms_key.main.id
  policy = data.aws_iam_policy_document.key.json
}

resource "aws_kms_key" "primary" {
  description             = "primary"
  multi_region            = true
  enable_key_rotation     = true
  deletion_window_in_days = 7
}

resource "aws_kms_replica_key" "replica" {
  provider = aws.replicas

  description             = "replica, revision ${var.revision}"
  primary_key_arn         = aws_kms_key.primary.arn
  enabled                 = !local.changed
  deletion_window_in_days = 7
  tags                    = local.tags
}

resource "aws_kms_external_key" "imported" {
  description             = "imported, revision ${var.revision}"
  key_material_base64     = var.material
  valid_to                = local.changed ? var.valid_to : null
  enabled                 = true
  multi_region            = true
  deletion_window_in_days = 7
  tags                    = local.tags
}

resource "aws_kms_replica_external_key" "imported" {
  provider = aws.replicas

  description             = "replica of the imported"
  primary_key_arn         = aws_kms_external_key.imported.arn
  key_material_base64     = var.material
  enabled                 = true
  deletion_window_in_days = 7
}

# One that waits for its material: it may not be enabled before.
resource "aws_kms_external_key" "pending" {
  description             = "without material"
  deletion_window_in_days = 7
}
