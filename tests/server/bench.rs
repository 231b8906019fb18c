//! `oarlock bench`: it measures, and it notices wrong answers.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::processes::{Nodes, run_err, run_ok};

fn args<'a>(addrs: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["bench", "--seconds", "1", "--warmup", "0.1", "--json"];
    for addr in addrs {
        args.extend(["--addr", addr]);
    }
    args.extend(more);
    args
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("one line of JSON")
}

#[test]
fn a_cluster_is_measured_and_every_answer_checked() {
    let nodes = Nodes::start();
    nodes.leader();
    let addrs = [1, 2, 3].map(|id| nodes.client_addr(id));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (csv, svg) = (file("latencies.csv"), file("latencies.svg"));
    let closed = ["--clients", "12", "--reads", "50", "--keys", "50", "--pipeline", "4"];
    let files = ["--csv", &csv, "--svg", &svg, "--zipf", "1"];
    let found = json(&run_ok(&args(&addrs, &[&closed[..], &files].concat())));
    assert_eq!((&found["wrong"], &found["errors"]), (&0.into(), &0.into()), "{found}");
    for kind in ["set", "get"] {
        let figures = &found[kind];
        assert!(figures["count"].as_u64() > Some(0), "{found}");
        assert!(figures["p50_ms"].as_f64() <= figures["max_ms"].as_f64(), "{found}");
    }
    let counted = |kind: &str| -> u64 {
        let text = std::fs::read_to_string(&csv).expect("it was written");
        let of_kind = text.lines().filter_map(|line| line.strip_prefix(kind)?.rsplit_once(','));
        of_kind.map(|(_, count)| count.parse::<u64>().expect("a number")).sum()
    };
    assert_eq!(Some(counted("GET,")), found["get"]["count"].as_u64());
    assert_eq!(Some(counted("SET,")), found["set"]["count"].as_u64());
    let picture = std::fs::read_to_string(&svg).expect("it was written");
    assert_eq!(picture.matches("<polyline").count(), 2, "{picture}");

    let open = json(&run_ok(&args(&addrs, &["--rate", "50", "--clients", "8"])));
    let answered = open["set"]["count"].as_u64().expect("a number");
    assert!((1..=51).contains(&answered), "no more than were asked for: {open}");
    let pings = json(&run_ok(&args(&addrs, &["--ping", "--clients", "2"])));
    assert!(pings["ping"]["count"].as_u64() > Some(0), "{pings}");
}

/// Where a store listens that takes every write, and has none of them.
fn forgetful_store() -> [String; 1] {
    store_that_hangs_up_after(usize::MAX)
}

/// The same, on whose connections so many writes are answered.
fn store_that_hangs_up_after(writes: usize) -> [String; 1] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addrs = [listener.local_addr().expect("bound").to_string()];
    // Its threads end with their connections.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || -> std::io::Result<()> {
                let (mut answers, mut answered) = (stream.try_clone()?, 0);
                for line in BufReader::new(stream).lines() {
                    match line?.as_str() {
                        "SET" if answered == writes => break,
                        "SET" => {
                            answered += 1;
                            answers.write_all(b"+OK\r\n")?;
                        }
                        "GET" => answers.write_all(b"$-1\r\n")?,
                        _ => {}
                    }
                }
                Ok(())
            });
        }
    });
    addrs
}

#[test]
fn a_store_that_forgets_is_found_out() {
    let addrs = forgetful_store();
    let error = run_err(&args(&addrs, &["--clients", "2", "--reads", "50", "--keys", "10"]));
    assert!(error.contains("answers are wrong"), "{error}");
}

#[test]
fn a_client_that_has_lost_its_connection_goes_on() {
    const WRITES: u64 = 5;
    let addrs = store_that_hangs_up_after(WRITES as usize);
    for kind in [&[][..], &["--rate", "1000"]] {
        let clients = ["--clients", "2", "--pipeline", "2"];
        let found = json(&run_ok(&args(&addrs, &[&clients, kind].concat())));
        let answered = found["set"]["count"].as_u64();
        assert!(answered > Some(2 * WRITES * 4), "each client lives on, and on: {found}");
    }
}

#[test]
fn what_is_done_before_the_first_request_is_no_pause() {
    let addr = &forgetful_store()[0];
    // To make room for so many keys takes longer than is measured.
    let times = ["bench", "--json", "--seconds", "0.01", "--warmup", "0", "--keys", "3000000"];
    let found = json(&run_ok(&[&times[..], &["--clients", "1", "--addr", addr]].concat()));
    let pause = found["pause_ms"].as_f64().expect("a number");
    assert!(pause <= 10.0, "a pause that is longer than what was measured: {found}");
}

/// What a small ZooKeeper has.
#[derive(Default)]
struct Znodes {
    values: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    sessions_closed: AtomicUsize,
    /// Whether a request was left until somebody asked something else.
    has_forgotten: AtomicBool,
}

impl Znodes {
    /// Answers one session, to its end or the connection's.
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let opened = [&[0; 4][..], &[0, 0, 0x75, 0x30], &[1; 8], &16_u32.to_be_bytes(), &[0; 17]];
        read(&mut stream)?;
        write(&mut stream, &opened.concat())?;
        loop {
            let request = read(&mut stream)?;
            let (xid, kind) = (&request[..4], i32::from_be_bytes(four(&request[4..])));
            if kind == 5 && !self.has_forgotten.swap(true, SeqCst) {
                let reminder = read(&mut stream)?;
                assert_eq!(reminder, [0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 11]);
                write(&mut stream, &[&reminder[..4], &[0; 12]].concat())?;
            }
            let mut fields = &request[8..];
            let (code, body) = match kind {
                11 => (0, Vec::new()),
                -11 => {
                    self.sessions_closed.fetch_add(1, SeqCst);
                    return Ok(());
                }
                kind => self.execute(kind, field(&mut fields), || field(&mut fields)),
            };
            write(&mut stream, &[xid, &[0; 8], &code.to_be_bytes(), &body].concat())?;
        }
    }

    /// What a request comes to: how it went, and what follows.
    fn execute<'a>(
        &self,
        kind: i32,
        path: &[u8],
        value: impl FnOnce() -> &'a [u8],
    ) -> (i32, Vec<u8>) {
        let mut values = self.values.lock().expect("nobody panics");
        match (kind, values.get_mut(path)) {
            (1, Some(_)) => (-110, Vec::new()),
            (1, None) => {
                values.insert(path.to_owned(), value().to_owned());
                (0, Vec::new())
            }
            (4, Some(known)) => {
                let length = u32::try_from(known.len()).expect("short").to_be_bytes();
                (0, [&length[..], known, &[0; 68]].concat())
            }
            (5, Some(known)) => {
                value().clone_into(known);
                (0, vec![0; 68])
            }
            (4 | 5, None) => (-101, Vec::new()),
            (9, _) => (0, Vec::new()),
            (kind, _) => panic!("a request of kind {kind}"),
        }
    }
}

fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    stream.write_all(&[&length, message].concat())
}

fn four(bytes: &[u8]) -> [u8; 4] {
    *bytes.first_chunk().expect("no request is shorter")
}

fn field<'a>(fields: &mut &'a [u8]) -> &'a [u8] {
    let length = u32::from_be_bytes(four(fields)) as usize;
    let (field, rest) = fields[4..].split_at(length);
    *fields = rest;
    field
}

/// Against a store that creates by one request and changes by another, keeps its sessions until they are
/// closed, and forgets a request until it is reminded.
#[test]
fn znodes_are_there_before_puts_are_measured_and_sessions_are_closed() {
    const CLIENTS: usize = 3;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addrs = [listener.local_addr().expect("bound").to_string()];
    let znodes = Arc::new(Znodes::default());
    let shared = Arc::clone(&znodes);
    let server = std::thread::spawn(move || {
        // As many as clients, and in the end as many again.
        let sessions = listener.incoming().take(2 * CLIENTS).map(|stream| {
            let (stream, znodes) = (stream.expect("a connection"), Arc::clone(&shared));
            std::thread::spawn(move || znodes.serve(stream))
        });
        let sessions: Vec<_> = sessions.collect();
        for session in sessions {
            session.join().expect("it knows all requests").expect("the client closes it");
        }
    });
    // Few puts of many keys: those that are measured do not create them all.
    let flags = ["--speak", "zookeeper", "--clients", "3", "--keys", "50", "--rate", "20"];
    let puts = json(&run_ok(&args(&addrs, &flags)));
    assert_eq!((&puts["wrong"], &puts["errors"]), (&0.into(), &0.into()), "{puts}");
    let paths: BTreeSet<_> = znodes.values.lock().expect("nobody panics").keys().cloned().collect();
    let expected = (0..50).map(|key| format!("/bench:{key:08}").into_bytes()).collect();
    assert_eq!(paths, expected);
    let both = json(&run_ok(&args(&addrs, &[&flags[..], &["--reads", "50"]].concat())));
    assert_eq!((&both["wrong"], &both["errors"]), (&0.into(), &0.into()), "{both}");
    assert!(both["get"]["count"].as_u64() > Some(0), "{both}");
    server.join().expect("all sessions end well");
    assert_eq!(znodes.sessions_closed.load(SeqCst), 2 * CLIENTS);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let nobody = ["127.0.0.1:1".to_owned()];
    let error = run_err(&args(&nobody, &[]));
    assert!(error.contains("cannot connect to 127.0.0.1:1"), "{error}");
    // Of several, the one that does not answer.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let somebody = listener.local_addr().expect("bound").to_string();
    let error = run_err(&args(&[somebody, nobody[0].clone()], &["--clients", "2"]));
    assert!(error.contains("cannot connect to 127.0.0.1:1;"), "{error}");
    for (flags, expected) in [
        (&["--rate", "0"][..], "--rate"),
        (&["--seconds", "0"], "--seconds"),
        (&["--zipf", "99"], "--zipf"),
        (&["--speak", "etcd", "--ping"], "--ping"),
        (&["--speak", "etcd", "--pipeline", "2"], "--pipeline"),
        (&["--speak", "zookeeper", "--pipeline", "2"], "--pipeline"),
        (&["--speak", "zookeeper", "--value-bytes", "1048576"], "--value-bytes"),
    ] {
        let error = run_err(&args(&nobody, flags));
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
}
