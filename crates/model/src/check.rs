//! The result of one prerequisite check.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::{AdapterName, Name},
    problem::Problem,
};

/// How much a failed check matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Acceleration cannot be enabled.
    Error,
    /// It can, but something is not as it should be.
    Warning,
}

/// One check of one node or adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckResult {
    /// The check's name, e.g. `iommu`.
    pub check: String,
    /// The node; `None` for a check over the whole cluster.
    pub node: Option<Name>,
    /// The adapter, if it is about one.
    pub adapter: Option<AdapterName>,
    /// It passed.
    pub passed: bool,
    /// How much it matters if it did not.
    pub severity: Severity,
    /// What was found, in words.
    pub found: String,
    /// Cause and cure, if it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}
