//! `oarlock get`, `put`, `append`: through the clerk, exactly once.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use oarlock_kvserver::Clerk;
use oarlock_rpc::End;
use oarlock_rpc::tcp::{EndOptions, TcpEnd};

use super::member::check_address;

/// How long a command looks for a cluster that answers.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
struct Servers {
    /// The client addresses of some nodes; the others are not needed as long as these answer.
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = check_address,
        default_value = "127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003"
    )]
    addr: Vec<String>,
}

/// Print the value of a key. One that does not exist is an error.
#[derive(clap::Args)]
pub(crate) struct GetArgs {
    key: String,
    #[command(flatten)]
    servers: Servers,
}

/// Set a key to a value.
#[derive(clap::Args)]
pub(crate) struct PutArgs {
    key: String,
    value: String,
    #[command(flatten)]
    servers: Servers,
}

/// Append to the value of a key; one that does not exist counts as empty.
#[derive(clap::Args)]
pub(crate) struct AppendArgs {
    key: String,
    value: String,
    #[command(flatten)]
    servers: Servers,
}

pub(crate) fn get(args: &GetArgs) -> anyhow::Result<()> {
    let key = args.key.as_bytes();
    let value = args.servers.with_clerk(|clerk, deadline| clerk.get_until(key, deadline))?;
    let value = value.with_context(|| format!("there is no key {:?}", args.key))?;
    let mut out = std::io::stdout().lock();
    out.write_all(&value)?;
    out.write_all(b"\n")?;
    Ok(())
}

pub(crate) fn put(args: &PutArgs) -> anyhow::Result<()> {
    let (key, value) = (args.key.as_bytes(), args.value.as_bytes());
    args.servers.with_clerk(|clerk, deadline| clerk.put_until(key, value, deadline))
}

pub(crate) fn append(args: &AppendArgs) -> anyhow::Result<()> {
    let (key, value) = (args.key.as_bytes(), args.value.as_bytes());
    args.servers.with_clerk(|clerk, deadline| clerk.append_until(key, value, deadline))?;
    Ok(())
}

impl Servers {
    fn with_clerk<T, E>(
        &self,
        call: impl FnOnce(&mut Clerk, Instant) -> Result<T, E>,
    ) -> anyhow::Result<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let ends = self.addr.iter().map(|address| {
            Ok(Arc::new(TcpEnd::connect(EndOptions::client(address))?) as Arc<dyn End>)
        });
        let mut clerk = Clerk::new(ends.collect::<std::io::Result<_>>()?);
        call(&mut clerk, Instant::now() + PATIENCE)
            .with_context(|| format!("asked {}", self.addr.join(", ")))
    }
}
