//! A store without any protocol: what the disk, the loopback device and a thread for each connection
//! make when nothing is agreed on. Three processes: the first writes and syncs each batch while the two
//! others do, and answers when one of them has done so as well. There are no terms and no elections, and
//! nothing can be recovered. A get is answered from a map, and nobody is asked whether that is the newest.
//!
//! What whole clusters stand beside, as a floor.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::floor::Floor as Disk;

/// The first word of the command line of such a process.
const WORD: &str = "skeleton";
/// Where a batch begins in the file anew.
const FILE_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: usize = 4096;
/// More than any command of the load has.
const PART_BYTES_MAX: usize = 1 << 20;
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// The command of one process: the first of `peers`, which has the clients, or one of the others.
pub(crate) fn command(node: usize, client: u16, peers: &[u16], dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
    command.arg(WORD).arg(dir);
    if node == 0 {
        command.arg(client.to_string()).args(peers[1..].iter().map(ToString::to_string));
    } else {
        command.arg(peers[node].to_string());
    }
    command
}

/// If the command line is that of such a process, is one; it ends when it is killed.
pub(crate) fn run_if_asked(words: &[String]) {
    let [first, dir, port, followers @ ..] = words else { return };
    if first != WORD {
        return;
    }
    std::fs::create_dir_all(dir).expect("a folder for data");
    let disk = Disk::new(Path::new(dir), FILE_BYTES);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    if followers.is_empty() {
        let (leader, _) = listener.accept().expect("the leader comes");
        follow(leader, disk);
    } else {
        lead(&listener, disk, followers);
    }
}

/// Writes what comes, and says so.
fn follow(mut leader: TcpStream, mut disk: Disk) {
    leader.set_nodelay(true).expect("it is a socket");
    let (mut len, mut batch) = ([0; 4], Vec::new());
    // The end of the leader is the end of this.
    while leader.read_exact(&mut len).is_ok() {
        batch.resize(u32::from_le_bytes(len) as usize, 0);
        leader.read_exact(&mut batch).expect("a batch comes whole");
        disk.append(&batch);
        leader.write_all(&[1]).expect("the leader listens");
    }
}

/// What the threads of connections, the writer and the followers' readers share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    asked: Condvar,
    /// A follower has written a batch.
    written: Condvar,
    /// A batch counts.
    done: Condvar,
    map: RwLock<HashMap<Vec<u8>, Vec<u8>>>,
}

#[derive(Default)]
struct State {
    /// What is to be written next.
    batch: Vec<u8>,
    /// The number of that batch, from 0 on.
    number: u64,
    /// How many batches count.
    count: u64,
    /// How many each follower has written.
    by: [u64; 2],
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics")
    }
}

fn lead(listener: &TcpListener, disk: Disk, followers: &[String]) {
    let shared = Arc::new(Shared::default());
    let streams: Vec<TcpStream> = followers.iter().map(|port| connect(port)).collect();
    for (nth, stream) in streams.iter().enumerate() {
        let (shared, mut stream) = (Arc::clone(&shared), stream.try_clone().expect("a handle"));
        thread::spawn(move || {
            while stream.read_exact(&mut [0]).is_ok() {
                shared.state().by[nth] += 1;
                shared.written.notify_all();
            }
        });
    }
    let writer = Arc::clone(&shared);
    thread::spawn(move || write(&writer, disk, streams));
    for stream in listener.incoming() {
        let (shared, stream) = (Arc::clone(&shared), stream.expect("a connection"));
        // Whoever is gone is answered no more.
        thread::spawn(move || drop(answer(&shared, stream)));
    }
}

fn connect(port: &str) -> TcpStream {
    let deadline = Instant::now() + CONNECTED_WITHIN;
    loop {
        match TcpStream::connect(format!("127.0.0.1:{port}")) {
            Ok(stream) => {
                stream.set_nodelay(true).expect("it is a socket");
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "no follower at {port}: {error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Batch after batch: whatever was asked while the last one was written.
fn write(shared: &Shared, mut disk: Disk, mut followers: Vec<TcpStream>) {
    loop {
        let mut state = shared.state();
        while state.batch.is_empty() {
            state = shared.asked.wait(state).expect("nobody panics");
        }
        let mut batch = std::mem::take(&mut state.batch);
        state.number += 1;
        let number = state.number;
        drop(state);
        batch.resize(batch.len().next_multiple_of(BLOCK_BYTES), 0);
        let len = u32::try_from(batch.len()).expect("a batch is small");
        for follower in &mut followers {
            follower.write_all(&[&len.to_le_bytes(), &*batch].concat()).expect("it follows");
        }
        disk.append(&batch);
        let mut state = shared.state();
        while state.by.iter().all(|&by| by < number) {
            state = shared.written.wait(state).expect("nobody panics");
        }
        state.count = number;
        drop(state);
        shared.done.notify_all();
    }
}

/// The commands of one client, one after the other: `SET` and `GET`.
fn answer(shared: &Shared, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let parts = read_command(&mut input)?;
        let answer = match &parts[..] {
            [name, key, value] if name == b"SET" => {
                let mut state = shared.state();
                state.batch.extend_from_slice(key);
                state.batch.extend_from_slice(value);
                let number = state.number;
                shared.asked.notify_one();
                while state.count <= number {
                    state = shared.done.wait(state).expect("nobody panics");
                }
                drop(state);
                let mut map = shared.map.write().expect("nobody panics");
                map.insert(key.clone(), value.clone());
                b"+OK\r\n".to_vec()
            }
            [name, key] if name == b"GET" => {
                let map = shared.map.read().expect("nobody panics");
                map.get(key).map_or_else(
                    || b"$-1\r\n".to_vec(),
                    |value| {
                        let head = format!("${}\r\n", value.len());
                        [head.as_bytes(), &**value, b"\r\n"].concat()
                    },
                )
            }
            _ => b"-ERR only SET and GET are known\r\n".to_vec(),
        };
        out.write_all(&answer)?;
    }
}

/// A command as clients send it: an array of strings.
fn read_command(input: &mut BufReader<TcpStream>) -> io::Result<Vec<Vec<u8>>> {
    let count = read_number(input, b'*')?;
    (0..count)
        .map(|_| {
            let mut part = vec![0; read_number(input, b'$')? + 2];
            input.read_exact(&mut part)?;
            part.truncate(part.len() - 2);
            Ok(part)
        })
        .collect()
}

/// A line of a sign and a number.
fn read_number(input: &mut BufReader<TcpStream>, sign: u8) -> io::Result<usize> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let digits = line.strip_prefix(char::from(sign)).map(str::trim_end);
    let number = digits.and_then(|digits| digits.parse().ok()).filter(|&n| n <= PART_BYTES_MAX);
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
