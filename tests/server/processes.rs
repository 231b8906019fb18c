//! Nodes as processes: started, killed, asked.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Far beyond what anything here takes, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The program under test, with these arguments.
pub(crate) fn oarlock<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oarlock"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    oarlock(args).output().expect("the program starts")
}

/// Runs the program, which must succeed, and returns what it prints.
pub(crate) fn run_ok(args: &[&str]) -> String {
    let output = run(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

/// Runs the program, which must fail, and returns what it says about it.
pub(crate) fn run_err(args: &[&str]) -> String {
    let output = run(args);
    assert!(!output.status.success(), "{args:?} should fail");
    String::from_utf8(output.stderr).expect("text")
}

/// This many ports that nobody uses now.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("bound").port()).collect()
}

/// Asks again and again until the answer is there.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// How nodes are started.
#[derive(Default)]
pub(crate) struct Start {
    /// For each node, what its command line stands behind: a program that runs it.
    pub(crate) through: [Vec<String>; 3],
    /// Further arguments of all.
    pub(crate) args: Vec<String>,
}

/// Three nodes of one cluster, and those that join it, each in its own process; killed with this
/// value.
pub(crate) struct Nodes {
    dir: tempfile::TempDir,
    start: Start,
    clients: Vec<u16>,
    peers: Vec<u16>,
    children: Vec<Option<Child>>,
}

impl Nodes {
    /// Starts three new nodes.
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), Start::default())
    }

    /// Starts three new nodes, with their directories in `dir`.
    pub(crate) fn start_in(dir: tempfile::TempDir, start: Start) -> Self {
        let ports = free_ports(6);
        let mut nodes = Self {
            dir,
            start,
            clients: ports[..3].to_vec(),
            peers: ports[3..].to_vec(),
            children: vec![None, None, None],
        };
        (1..=3).for_each(|id| nodes.start_node(id));
        nodes
    }

    /// The arguments that start node `id`: always the same.
    pub(crate) fn serve_args(&self, id: usize) -> Vec<String> {
        let address = |ports: &[u16], id: usize| format!("127.0.0.1:{}", ports[id - 1]);
        let mut args: Vec<String> = ["serve", "--id"].map(str::to_owned).to_vec();
        args.extend([id.to_string(), "--dir".to_owned(), self.dir_of(id).display().to_string()]);
        args.extend(["--client-addr".to_owned(), address(&self.clients, id)]);
        args.extend(["--peer-addr".to_owned(), address(&self.peers, id)]);
        if id > 3 {
            args.extend(["--join".to_owned(), self.client_addr(1)]);
            return args;
        }
        for other in (1..=3).filter(|&other| other != id) {
            args.extend(["--peer".to_owned(), format!("{other}={}", address(&self.peers, other))]);
        }
        args.extend(self.start.args.iter().cloned());
        args
    }

    /// A new node, which joins the cluster that node 1 is of; returns its number.
    pub(crate) fn start_joining(&mut self) -> usize {
        let ports = free_ports(2);
        self.clients.push(ports[0]);
        self.peers.push(ports[1]);
        self.children.push(None);
        let id = self.children.len();
        self.start_node(id);
        id
    }

    /// Node `id` as a command says where it is.
    pub(crate) fn member(&self, id: usize) -> String {
        format!("{id}=127.0.0.1:{}/{}", self.peers[id - 1], self.client_addr(id))
    }

    /// Waits until node `id` has ended by itself; what it wrote.
    pub(crate) fn last_words(&mut self, id: usize) -> String {
        let child = &mut self.children[id - 1];
        wait_for("it ends by itself", || child.as_mut()?.try_wait().expect("it is ours"));
        *child = None;
        std::fs::read_to_string(self.path().join(format!("{id}.log"))).expect("its log")
    }

    pub(crate) fn start_node(&mut self, id: usize) {
        let through = self.start.through.get(id - 1).cloned().unwrap_or_default();
        self.start_node_through(id, &through);
    }

    /// Starts node `id` by way of another program; none if `through` is empty.
    pub(crate) fn start_node_through(&mut self, id: usize, through: &[String]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_of(id));
        let log = log.expect("a log file");
        let mut own = oarlock(self.serve_args(id));
        // A program in between cannot pass a signal on in time; the end of its input it can.
        own.arg("--stop-with-stdin");
        let mut command = match through.split_first() {
            None => own,
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).arg(own.get_program()).args(own.get_args());
                command
            }
        };
        let child = command.stdin(Stdio::piped()).stderr(log).spawn().expect("the program starts");
        self.children[id - 1] = Some(child);
    }

    /// How node `id` ended, if it has, by itself.
    pub(crate) fn ended(&mut self, id: usize) -> Option<std::process::ExitStatus> {
        let child = self.children[id - 1].as_mut().expect("it was started");
        child.try_wait().expect("it is ours")
    }

    /// Where node `id` writes its log.
    pub(crate) fn log_of(&self, id: usize) -> PathBuf {
        self.path().join(format!("{id}.log"))
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, id: usize) {
        if let Some(mut child) = self.children[id - 1].take() {
            child.kill().expect("it runs");
            child.wait().expect("it is ours");
        }
    }

    /// Tells node `id` to stop, if it runs, and waits for its end.
    pub(crate) fn stop(&mut self, id: usize) {
        if let Some(mut child) = self.children[id - 1].take() {
            drop(child.stdin.take());
            child.wait().expect("it is ours");
        }
    }

    /// Sends node `id` a SIGTERM, and waits for its end.
    pub(crate) fn terminate(&mut self, id: usize) {
        let mut child = self.children[id - 1].take().expect("it runs");
        // Or waiting for it would close its input, which stops it too.
        let _input = child.stdin.take();
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it is ours");
        assert!(child.wait().expect("it is ours").success());
    }

    pub(crate) fn dir_of(&self, id: usize) -> PathBuf {
        self.dir.path().join(format!("node-{id}"))
    }

    pub(crate) fn client_addr(&self, id: usize) -> String {
        format!("127.0.0.1:{}", self.clients[id - 1])
    }

    pub(crate) fn peer_addr(&self, id: usize) -> String {
        format!("127.0.0.1:{}", self.peers[id - 1])
    }

    /// The memory of node `id` that is in use now, in KiB.
    pub(crate) fn resident_kib(&self, id: usize) -> u64 {
        self.system_status(id, "VmRSS:")
    }

    /// How many threads node `id` has.
    pub(crate) fn threads(&self, id: usize) -> u64 {
        self.system_status(id, "Threads:")
    }

    /// A number that the system knows of node `id`.
    fn system_status(&self, id: usize, name: &str) -> u64 {
        let child = self.children[id - 1].as_ref().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.expect("a running process has a status");
        let line =
            status.lines().find(|line| line.starts_with(name)).expect("every process has it");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

    /// A Redis connection to node `id`, once it listens.
    pub(crate) fn redis(&self, id: usize) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}/", self.client_addr(id)));
        let client = client.expect("a good address");
        wait_for("a connection", || client.get_connection().ok())
    }

    /// What node `id` says of the cluster, as `oarlock status --json` prints it.
    pub(crate) fn status(&self, id: usize) -> Option<serde_json::Value> {
        let output = run(&["status", "--json", "--addr", &self.client_addr(id)]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// The number of the node that leads, by the account of any that runs.
    pub(crate) fn leader(&self) -> usize {
        wait_for("a leader", || {
            let all = 1..=self.children.len();
            let running = all.filter(|id| self.children[id - 1].is_some());
            running.filter_map(|id| self.status(id)).find_map(|status| {
                let members = status["members"].as_array()?.clone();
                let leads = |m: &&serde_json::Value| m["status"]["role"] == "Leader";
                members.iter().find(leads)?["id"].as_u64().map(|id| id as usize)
            })
        })
    }

    /// Where all the nodes' directories and logs are.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let all = 1..=self.children.len();
        all.clone().for_each(|id| self.kill(id));
        if std::thread::panicking() {
            for id in all {
                let log = std::fs::read_to_string(self.log_of(id));
                eprintln!("--- node {id}\n{}", log.unwrap_or_default());
            }
        }
    }
}
