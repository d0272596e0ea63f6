# What the test applies twice: as revision 1, and then as revision 2, which changes what can be changed.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

# Endpoint, credentials and Region are found in the environment, as with any program.
provider "aws" {}

provider "aws" {
  alias  = "replicas"
  region = "eu-west-1"
}

variable "revision" {
  type = number
}

# Key specs of the provider's own list, with a usage each: "RSA_2048 SIGN_VERIFY".
variable "kinds" {
  type = set(string)
}

# Key material for import, in base64: what comes from outside is the test's to know.
variable "material" {
  type      = string
  sensitive = true
}

# When the imported material ends, as of revision 2.
variable "valid_to" {
  type = string
}

locals {
  changed = var.revision == 2
  tags    = { Revision = tostring(var.revision), Owner = "terraform" }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_regions" "served" {}
