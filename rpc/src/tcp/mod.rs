//! The TCP network under the calling contract.
