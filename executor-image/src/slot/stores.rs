//! How the object stores of a flow are reached from a slot: by prefix, with what the operator mounted for it; the environment
//! for what no prefix covers.

use std::sync::Arc;

use engine::Stores;
use engine::store::Access;

use super::protocol::StoreAccess;

/// The stores. Secrets are read when a store is first used.
pub(super) fn open(accesses: &[StoreAccess]) -> Arc<Stores> {
    let access = |given: &StoreAccess| Access {
        prefix: given.prefix.clone(),
        endpoint: given.endpoint.clone(),
        region: given.region.clone(),
        secrets: given.secret_dir.clone(),
    };
    Stores::from_environment_and(accesses.iter().map(access).collect())
}
