# What the test compares with the daemon's own answers.

output "account" {
  value = data.aws_caller_identity.current.account_id
}

output "regions" {
  value = [data.aws_region.current.name, sort(data.aws_regions.served.names)]
}

output "kinds" {
  value = { for kind, key in aws_kms_key.kind : kind => key.arn }
}

output "keys" {
  value = {
    main        = aws_kms_key.main.arn
    with_policy = aws_kms_key.with_policy.arn
    primary     = aws_kms_key.primary.arn
    replica     = aws_kms_replica_key.replica.arn
    imported    = aws_kms_external_key.imported.arn
    elsewhere   = aws_kms_replica_external_key.imported.arn
    pending     = aws_kms_external_key.pending.arn
  }
}

output "grants" {
  value = {
    equals = aws_kms_grant.equals.grant_id
    subset = aws_kms_grant.subset.grant_id
    plain  = aws_kms_grant.plain.grant_id
  }
}

output "opened" {
  value     = data.aws_kms_secrets.opened.plaintext
  sensitive = true
}

output "public_keys" {
  value = { for kind, key in data.aws_kms_public_key.kind : kind => key.public_key_pem }
}

output "read" {
  value = {
    alias       = data.aws_kms_alias.main.target_key_arn
    main        = data.aws_kms_key.main.key_state
    main_spec   = data.aws_kms_key.main.customer_master_key_spec
    imported    = data.aws_kms_key.imported.expiration_model
    replicas    = [for replica in data.aws_kms_key.primary.multi_region_configuration[0].replica_keys : replica.region]
    user        = data.aws_iam_user.ana.user_id
    user_tags   = data.aws_iam_user.ana.tags
    boundary    = data.aws_iam_user.ana.permissions_boundary
    role        = data.aws_iam_role.deploy.unique_id
    role_tags   = data.aws_iam_role.deploy.tags
    policy      = data.aws_iam_policy.use.policy
    policy_tags = data.aws_iam_policy.use.tags
    by_name     = data.aws_iam_policy.by_name.arn
    members     = sort([for user in data.aws_iam_group.team.users : user.user_name])
    access_keys = [for key in data.aws_iam_access_keys.ana.access_keys : key.status]
    users       = sort(data.aws_iam_users.team.names)
    roles       = sort(data.aws_iam_roles.team.names)
    issuer      = data.aws_iam_session_context.deploy.issuer_id
    may         = { for action, asked in data.aws_iam_principal_policy_simulation.ana : action => asked.all_allowed }
  }
}

output "access_key" {
  value     = { id = aws_iam_access_key.ana.id, secret = aws_iam_access_key.ana.secret }
  sensitive = true
}
