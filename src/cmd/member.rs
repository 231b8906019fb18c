//! A member of a cluster as a flag spells it: `ID=PEER_ADDR`, or `ID=PEER_ADDR/CLIENT_ADDR`.

use std::fmt;
use std::str::FromStr;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its number, from 1.
    pub(crate) id: u64,
    /// Where it listens for the other members: `host:port`.
    pub(crate) peer_addr: String,
    /// Where it listens for clients, if that is known here.
    pub(crate) client_addr: Option<String>,
}

impl Member {
    /// Its address as the cluster's configuration has it.
    pub(crate) fn address(&self) -> String {
        match &self.client_addr {
            Some(client) => format!("{}/{client}", self.peer_addr),
            None => self.peer_addr.clone(),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.id, self.address())
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "expected ID=HOST:PORT, such as 2=10.0.0.2:7101";
        let (id, addresses) = text.split_once('=').ok_or(form)?;
        let id: u64 = id.parse().map_err(|_| format!("{id:?} is no node id; {form}"))?;
        if id == 0 {
            return Err("node ids begin at 1".to_owned());
        }
        let (peer_addr, client_addr) = match addresses.split_once('/') {
            Some((peer, client)) => (peer, Some(client)),
            None => (addresses, None),
        };
        for address in std::iter::once(peer_addr).chain(client_addr) {
            check_address(address)?;
        }
        Ok(Self {
            id,
            peer_addr: peer_addr.to_owned(),
            client_addr: client_addr.map(str::to_owned),
        })
    }
}

/// `host:port`, of which the port must be a number.
pub(crate) fn check_address(address: &str) -> Result<String, String> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(_)) => Ok(address.to_owned()),
        _ => Err(format!("{address:?} is no address; expected HOST:PORT, such as 127.0.0.1:7001")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_reads_back_as_it_is_written() {
        for text in ["1=127.0.0.1:7101", "2=[::1]:7101/host.example:7001"] {
            assert_eq!(text.parse::<Member>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("127.0.0.1:7101", "ID=HOST:PORT"),
            ("x=127.0.0.1:7101", "\"x\""),
            ("0=127.0.0.1:7101", "begin at 1"),
            ("1=127.0.0.1", "HOST:PORT"),
            ("1=:7101", "HOST:PORT"),
            ("1=a:70000", "a:70000"),
            ("1=a:1/b", "\"b\""),
        ] {
            let error = text.parse::<Member>().unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
