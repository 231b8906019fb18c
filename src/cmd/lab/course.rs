//! What the course publishes: how long its own solution took over each test in 2022, what it
//! counted, and where a test or the course's pages draw a line.

use super::output::Work;

/// A test of ours beside its original.
pub(crate) struct CourseTest {
    /// The name of ours, without modules.
    pub(crate) name: &'static str,
    /// The name of the Go test.
    pub(crate) original: &'static str,
    pub(crate) sample: Sample,
}

/// Figures of a solution that is not ours.
#[derive(Clone, Copy)]
pub(crate) enum Sample {
    /// The course's own, from its pages.
    Course { seconds: f64, rpcs: u64, work: Option<Work> },
    /// The mean of 50 runs of a student's, of a test that the course's sample leaves out.
    Student { seconds: f64 },
}

impl Sample {
    pub(crate) fn seconds(self) -> f64 {
        match self {
            Self::Course { seconds, .. } | Self::Student { seconds } => seconds,
        }
    }
}

/// The test of this name, without modules, if the course has figures of it.
pub(crate) fn test(name: &str) -> Option<&'static CourseTest> {
    TESTS.iter().find(|test| test.name == name)
}

/// What the course says of a part, or of some together.
#[derive(Clone, Copy)]
pub(crate) struct CourseParts {
    pub(crate) name: &'static str,
    /// Which they are.
    pub(crate) parts: &'static [&'static str],
    /// Of its sample output, in real time.
    pub(crate) seconds: f64,
    /// What it calls the limit of a sound solution, and what is to be known of the sample.
    pub(crate) guidance: &'static str,
}

/// The part of this name, such as `2C`, if the course has figures of it.
pub(crate) fn part(name: &str) -> Option<&'static CourseParts> {
    PARTS.iter().find(|part| part.name == name)
}

/// Parts that the course speaks of together.
pub(crate) fn labs() -> impl Iterator<Item = &'static CourseParts> {
    PARTS.iter().filter(|parts| parts.parts.len() > 1)
}

/// Where the test of this name, without modules, draws a line by itself, or the course does for it,
/// besides the 120 s for each test.
pub(crate) fn limit(name: &str) -> Option<&'static str> {
    match name {
        "rpc_bytes_2b" => Some("at most 200,000 bytes for ten commands of 5,000"),
        "count_2b" => Some("at most 30 RPCs to elect, 42 for ten commands, 60 in an idle second"),
        "speed_3a" | "speed_3b" => Some("33.3 s for 1,000 calls"),
        "snapshot_size_3b" => {
            Some("20 s (guidance); 8,000 bytes of Raft state; a snapshot of 500 bytes")
        }
        "shutdown_4a" | "restart_submit_4a" => Some("11 s for all waiting calls to end"),
        "snapshot_4c" => Some("2,000 bytes of Raft state"),
        "snapshot_all_crash_2d" | "snapshot_init_2d" => None,
        _ if name.ends_with("_2d") => Some("under 2,000 bytes of Raft state"),
        _ if name.ends_with("_3b") => Some("8,000 bytes of Raft state"),
        _ => None,
    }
}

const fn parts(
    name: &'static str,
    parts: &'static [&'static str],
    seconds: f64,
    guidance: &'static str,
) -> CourseParts {
    CourseParts { name, parts, seconds, guidance }
}

static PARTS: [CourseParts; 9] = [
    parts("2A", &["2A"], 16.3, ""),
    parts("2B", &["2B"], 35.6, "1 min real and 5 s CPU (a sample: 4.0 s CPU)"),
    parts("2C", &["2C"], 123.6, ""),
    parts("2D", &["2D"], 293.5, ""),
    parts("2A to 2D", &["2A", "2B", "2C", "2D"], 469.0, "6 min real and 1 min CPU"),
    parts("3A", &["3A"], 290.2, ""),
    parts("3B", &["3B"], 161.5, ""),
    parts("3A and 3B", &["3A", "3B"], 451.7, "400 s real and 700 s CPU"),
    parts("4A and 4C", &["4A", "4C"], 93.7, "(of 2026: servers are processes, race detector on)"),
];

const fn raft(
    name: &'static str,
    original: &'static str,
    seconds: f64,
    [rpcs, bytes, commits]: [u64; 3],
) -> CourseTest {
    let work = Some(Work::Raft { bytes, commits });
    CourseTest { name, original, sample: Sample::Course { seconds, rpcs, work } }
}

const fn kv(
    name: &'static str,
    original: &'static str,
    seconds: f64,
    [rpcs, ops]: [u64; 2],
) -> CourseTest {
    let work = Some(Work::KeyValue { ops });
    CourseTest { name, original, sample: Sample::Course { seconds, rpcs, work } }
}

/// The speed tests do not count calls.
const fn speed(name: &'static str, original: &'static str, seconds: f64, rpcs: u64) -> CourseTest {
    CourseTest { name, original, sample: Sample::Course { seconds, rpcs, work: None } }
}

const fn student(name: &'static str, original: &'static str, seconds: f64) -> CourseTest {
    CourseTest { name, original, sample: Sample::Student { seconds } }
}

/// The samples of 3A and 3B were taken with Go's race detector on.
#[rustfmt::skip]
static TESTS: [CourseTest; 51] = [
    raft("initial_election_2a", "TestInitialElection2A", 3.5, [58, 16_840, 0]),
    raft("re_election_2a", "TestReElection2A", 5.4, [118, 25_269, 0]),
    raft("many_elections_2a", "TestManyElections2A", 7.3, [624, 138_014, 0]),
    raft("basic_agree_2b", "TestBasicAgree2B", 0.9, [16, 4_572, 3]),
    raft("rpc_bytes_2b", "TestRPCBytes2B", 1.7, [48, 114_536, 11]),
    student("follower_failure_2b", "TestFollowerFailure2B", 5.2),
    student("leader_failure_2b", "TestLeaderFailure2B", 5.8),
    raft("fail_agree_2b", "TestFailAgree2B", 3.6, [78, 22_131, 7]),
    raft("fail_no_agree_2b", "TestFailNoAgree2B", 3.8, [172, 40_935, 3]),
    raft("concurrent_starts_2b", "TestConcurrentStarts2B", 1.1, [24, 7_379, 6]),
    raft("rejoin_2b", "TestRejoin2B", 5.1, [152, 37_021, 4]),
    raft("backup_2b", "TestBackup2B", 17.2, [2_080, 1_587_388, 102]),
    raft("count_2b", "TestCount2B", 2.2, [60, 20_119, 12]),
    raft("persist1_2c", "TestPersist12C", 5.0, [86, 22_849, 6]),
    raft("persist2_2c", "TestPersist22C", 17.6, [952, 218_854, 16]),
    raft("persist3_2c", "TestPersist32C", 2.0, [34, 8_937, 4]),
    raft("figure_8_2c", "TestFigure82C", 31.2, [580, 130_675, 32]),
    raft("unreliable_agree_2c", "TestUnreliableAgree2C", 1.7, [1_044, 366_392, 246]),
    raft("figure_8_unreliable_2c", "TestFigure8Unreliable2C", 33.6, [10_700, 33_695_245, 308]),
    raft("reliable_churn_2c", "TestReliableChurn2C", 16.1, [8_864, 44_771_259, 1_544]),
    raft("unreliable_churn_2c", "TestUnreliableChurn2C", 16.5, [4_220, 6_414_632, 906]),
    raft("snapshot_basic_2d", "TestSnapshotBasic2D", 11.6, [176, 61_716, 192]),
    raft("snapshot_install_2d", "TestSnapshotInstall2D", 64.2, [878, 320_610, 336]),
    raft("snapshot_install_unreliable_2d", "TestSnapshotInstallUnreliable2D", 81.1, [1_059, 375_850, 341]),
    raft("snapshot_install_crash_2d", "TestSnapshotInstallCrash2D", 53.5, [601, 256_638, 339]),
    raft("snapshot_install_un_crash_2d", "TestSnapshotInstallUnCrash2D", 63.5, [687, 288_294, 336]),
    raft("snapshot_all_crash_2d", "TestSnapshotAllCrash2D", 19.5, [268, 81_352, 58]),
    student("snapshot_init_2d", "TestSnapshotInit2D", 3.6),
    kv("basic_3a", "TestBasic3A", 15.5, [4_576, 903]),
    speed("speed_3a", "TestSpeed3A", 15.7, 3_022),
    kv("concurrent_3a", "TestConcurrent3A", 15.9, [5_884, 1_160]),
    kv("unreliable_3a", "TestUnreliable3A", 19.2, [3_083, 441]),
    kv("unreliable_one_key_3a", "TestUnreliableOneKey3A", 2.5, [218, 52]),
    kv("one_partition_3a", "TestOnePartition3A", 1.7 + 1.0 + 1.2, [275, 8]),
    kv("many_partitions_one_client_3a", "TestManyPartitionsOneClient3A", 23.8, [4_501, 765]),
    kv("many_partitions_many_clients_3a", "TestManyPartitionsManyClients3A", 23.5, [5_692, 974]),
    kv("persist_one_client_3a", "TestPersistOneClient3A", 22.2, [4_721, 908]),
    kv("persist_concurrent_3a", "TestPersistConcurrent3A", 22.5, [5_490, 1_033]),
    kv("persist_concurrent_unreliable_3a", "TestPersistConcurrentUnreliable3A", 26.5, [3_532, 474]),
    kv("persist_partition_3a", "TestPersistPartition3A", 29.7, [6_122, 1_060]),
    kv("persist_partition_unreliable_3a", "TestPersistPartitionUnreliable3A", 32.9, [2_967, 317]),
    kv("persist_partition_unreliable_linearizable_3a", "TestPersistPartitionUnreliableLinearizable3A", 35.0, [8_249, 746]),
    kv("snapshot_rpc_3b", "TestSnapshotRPC3B", 4.0, [289, 63]),
    kv("snapshot_size_3b", "TestSnapshotSize3B", 2.6, [2_418, 800]),
    speed("speed_3b", "TestSpeed3B", 3.2, 3_025),
    kv("snapshot_recover_3b", "TestSnapshotRecover3B", 21.9, [29_266, 5_820]),
    kv("snapshot_recover_many_clients_3b", "TestSnapshotRecoverManyClients3B", 21.5, [33_115, 6_420]),
    kv("snapshot_unreliable_3b", "TestSnapshotUnreliable3B", 17.4, [3_233, 482]),
    kv("snapshot_unreliable_recover_3b", "TestSnapshotUnreliableRecover3B", 22.7, [3_337, 471]),
    kv("snapshot_unreliable_recover_concurrent_partition_3b", "TestSnapshotUnreliableRecoverConcurrentPartition3B", 30.4, [2_725, 274]),
    kv("snapshot_unreliable_recover_concurrent_partition_linearizable_3b", "TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable3B", 37.7, [8_378, 681]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_found_by_the_name_of_ours() {
        let test = test("figure_8_2c").unwrap();
        assert_eq!(test.original, "TestFigure82C");
        assert!((test.sample.seconds() - 31.2).abs() < 1e-9);
        assert!(super::test("TestFigure82C").is_none());
    }

    #[test]
    fn a_part_is_found_by_its_name() {
        assert!((part("2C").unwrap().seconds - 123.6).abs() < 1e-9);
        assert!(part("4A").is_none(), "published together with 4C alone");
        assert!(labs().all(|lab| lab.parts.len() > 1 && lab.name.contains(lab.parts[0])));
    }

    #[test]
    fn names_and_originals_belong_together() {
        let letters = |name: &str| name.replace('_', "").to_lowercase();
        for test in &TESTS {
            assert_eq!(format!("test{}", letters(test.name)), letters(test.original));
        }
    }
}
