//! Whether the checker is right: on histories that people can judge, on random ones against a
//! checker that tries everything, and on large ones in the time that a suite has.

mod brute_force;
mod cases;
mod large;
mod notation;
mod random;
