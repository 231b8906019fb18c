//! `oarlock bench`: it measures, and it notices wrong answers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

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

#[test]
fn a_store_that_forgets_is_found_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addrs = [listener.local_addr().expect("bound").to_string()];
    // Takes every write, and has none of them. Its threads end with their connections.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut answers = stream.try_clone()?;
                for line in BufReader::new(stream).lines() {
                    match line?.as_str() {
                        "SET" => answers.write_all(b"+OK\r\n")?,
                        "GET" => answers.write_all(b"$-1\r\n")?,
                        _ => {}
                    }
                }
                Ok(())
            });
        }
    });
    let error = run_err(&args(&addrs, &["--clients", "2", "--reads", "50", "--keys", "10"]));
    assert!(error.contains("answers are wrong"), "{error}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let nobody = ["127.0.0.1:1".to_owned()];
    let error = run_err(&args(&nobody, &[]));
    assert!(error.contains("cannot connect to 127.0.0.1:1"), "{error}");
    for (flags, expected) in [
        (&["--rate", "0"][..], "--rate"),
        (&["--seconds", "0"], "--seconds"),
        (&["--zipf", "99"], "--zipf"),
        (&["--speak", "etcd", "--ping"], "--ping"),
        (&["--speak", "etcd", "--pipeline", "2"], "--pipeline"),
    ] {
        let error = run_err(&args(&nobody, flags));
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
}
