# A user, a role, a group, policies of each kind, and an access key.

data "aws_iam_policy_document" "trust" {
  statement {
    actions = local.changed ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_user.ana.arn]
    }
  }
}

data "aws_iam_policy_document" "use" {
  statement {
    actions   = local.changed ? ["kms:Decrypt", "kms:DescribeKey"] : ["kms:Decrypt"]
    resources = ["*"]
    condition {
      test     = "StringLike"
      variable = "kms:EncryptionContext:stage"
      values   = ["test*"]
    }
  }
}

data "aws_iam_policy_document" "most" {
  statement {
    actions   = ["kms:*", "iam:Get*", "sts:*"]
    resources = ["*"]
  }
}

resource "aws_iam_policy" "most" {
  name   = "most"
  path   = "/boundaries/"
  policy = data.aws_iam_policy_document.most.json
}

# A change of it makes a new default version.
resource "aws_iam_policy" "use" {
  name        = "use"
  description = "may decrypt what is for tests"
  policy      = data.aws_iam_policy_document.use.json
  tags        = local.tags
}

resource "aws_iam_user" "ana" {
  name                 = "ana"
  path                 = "/team/"
  permissions_boundary = local.changed ? null : aws_iam_policy.most.arn
  force_destroy        = true
  tags                 = local.tags
}

# A change of its name is one of the user, not another user.
resource "aws_iam_user" "renamed" {
  name = local.changed ? "berta" : "bert"
}

resource "aws_iam_access_key" "ana" {
  user   = aws_iam_user.ana.name
  status = local.changed ? "Inactive" : "Active"
}

resource "aws_iam_user_policy" "ana" {
  name   = "may-use"
  user   = aws_iam_user.ana.name
  policy = data.aws_iam_policy_document.use.json
}

resource "aws_iam_user_policy_attachment" "ana" {
  user       = aws_iam_user.ana.name
  policy_arn = local.changed ? aws_iam_policy.most.arn : aws_iam_policy.use.arn
}

resource "aws_iam_role" "deploy" {
  name                  = "deploy"
  path                  = "/team/"
  description           = "deploys, revision ${var.revision}"
  assume_role_policy    = data.aws_iam_policy_document.trust.json
  max_session_duration  = local.changed ? 7200 : 3600
  permissions_boundary  = local.changed ? aws_iam_policy.most.arn : null
  force_detach_policies = true
  tags                  = local.tags
}

resource "aws_iam_role_policy" "deploy" {
  name   = "may-use"
  role   = aws_iam_role.deploy.id
  policy = data.aws_iam_policy_document.use.json
}

resource "aws_iam_role_policy_attachment" "deploy" {
  role       = aws_iam_role.deploy.name
  policy_arn = aws_iam_policy.use.arn
}

resource "aws_iam_group" "team" {
  name = "team"
  path = "/team/"
}

resource "aws_iam_group_policy" "team" {
  name   = "may-use"
  group  = aws_iam_group.team.name
  policy = data.aws_iam_policy_document.use.json
}

resource "aws_iam_group_policy_attachment" "team" {
  group      = aws_iam_group.team.name
  policy_arn = aws_iam_policy.use.arn
}

resource "aws_iam_group_membership" "team" {
  name  = "team"
  group = aws_iam_group.team.name
  users = local.changed ? [aws_iam_user.ana.name, aws_iam_user.renamed.name] : [aws_iam_user.ana.name]
}

resource "aws_iam_user_group_membership" "renamed" {
  user   = aws_iam_user.renamed.name
  groups = [aws_iam_group.second.name]
}

resource "aws_iam_group" "second" {
  name = local.changed ? "second-renamed" : "second"
}

# To several at once.
resource "aws_iam_policy_attachment" "several" {
  name       = "several"
  policy_arn = aws_iam_policy.several.arn
  users      = [aws_iam_user.renamed.name]
  groups     = local.changed ? [aws_iam_group.second.name] : []
}

resource "aws_iam_policy" "several" {
  name_prefix = "several-"
  policy      = data.aws_iam_policy_document.use.json
}
