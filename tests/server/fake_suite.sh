#!/bin/sh
# Acts like the test binary of the suites, as far as `oarlock lab run` looks at it. What a test tells
# of itself goes into the folder FAKE_SUITE.

if [ "$1" = --list ]; then
  for name in raft_2a::good_2a raft_2a::flaky_2a raft_2b::hang_2b raft_2b::crash_2b \
    kv_3a::undecided_3a kv_3a::empty_3a raft_2c::variables_2c; do
    echo "$name: test"
  done
  exit
fi

echo "$*" >>"$FAKE_SUITE/calls"
[ "$1 $3 $4" = '--exact --nocapture --test-threads=1' ] || exit 2
echo "Test ... (OARLOCK_SEED=${OARLOCK_SEED:-42})"

passed() {
  echo "  ... Passed -- $1"
  echo 'test result: ok. 1 passed; 0 failed; 0 ignored'
  exit
}

case $2 in
raft_2a::good_2a)
  passed '  3.1  3    58   3956    0 (0.25 s CPU)'
  ;;
raft_2a::flaky_2a)
  # The first of its runs fails.
  if mkdir "$FAKE_SUITE/flaky" 2>/dev/null; then
    echo "thread 'raft_2a::flaky_2a' (7) panicked at tests/x.rs:1:1:" >&2
    echo 'no leader in 10 rounds' >&2
    exit 101
  fi
  passed '  5.0  3   100   7000    2'
  ;;
raft_2b::hang_2b)
  : >"$TMPDIR/left-behind"
  echo $$ >"$FAKE_SUITE/hanging"
  exec sleep 1000
  ;;
raft_2b::crash_2b)
  kill -ABRT $$
  ;;
kv_3a::undecided_3a)
  echo '  ... Unknown -- the check ran out of time'
  passed ' 15.1  5  4000  900 (1.50 s CPU)'
  ;;
kv_3a::empty_3a)
  echo 'test result: ok. 0 passed; 0 failed; 0 ignored'
  ;;
raft_2c::variables_2c)
  env | grep '^OARLOCK_' | sort >"$FAKE_SUITE/variables-$OARLOCK_PERSISTER"
  passed '  1.0  3     1      1    1'
  ;;
esac
