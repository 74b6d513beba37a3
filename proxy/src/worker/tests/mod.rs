//! The heart against clients and nodes in memory, with time as an argument.

mod bench;
mod bounds;
mod diary;
mod doubt;
mod failures;
mod gather;
mod gather_random;
mod health;
mod hostile;
mod learned;
mod joined;
mod large;
mod manners;
mod model;
mod modes;
mod operator;
mod questions;
mod redirects;
mod retry;
mod routing;
mod scan;
mod scripts;
mod stories;
mod waited_for;
mod waiting;
