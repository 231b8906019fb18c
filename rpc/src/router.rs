//! Several services behind one name, told apart by the part of a method's name before the dot.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ReplySlot, Service, UnknownMethod};

/// A bundle of services: what one server of the labs is, and what one listener serves.
#[derive(Clone, Default)]
pub struct Router {
    services: BTreeMap<&'static str, Arc<dyn Service>>,
}

impl Router {
    /// A router with no services.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `service`, to answer every method named `<name>.…`.
    #[must_use]
    pub fn with(mut self, name: &'static str, service: Arc<dyn Service>) -> Self {
        let previous = self.services.insert(name, service);
        assert!(previous.is_none(), "service {name} is registered twice");
        self
    }
}

impl Service for Router {
    fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        let service = method.split_once('.').and_then(|(name, _)| self.services.get(name));
        match service {
            Some(service) => service.handle(method, args, reply),
            None => Err(UnknownMethod(method.to_owned())),
        }
    }

    fn hung_up(&self, peer: u64) {
        self.services.values().for_each(|service| service.hung_up(peer));
    }

    fn is_prompt(&self) -> bool {
        self.services.values().all(|service| service.is_prompt())
    }
}
