//! Stop strings against a search of the whole text.

use ds4_chat::StopStrings;
use proptest::prelude::*;

/// Looks at every beginning of the text: the shortest that ends with a stop string, and the longest of those strings.
fn reference(strings: &[String], text: &str) -> (String, Option<usize>) {
    let ends = text.char_indices().map(|(start, c)| start + c.len_utf8());
    for prefix in ends.map(|end| &text[..end]) {
        let hits = strings.iter().enumerate().filter(|(_, stop)| !stop.is_empty() && prefix.ends_with(stop.as_str()));
        // The last of several maxima is returned, so search from the back for the first.
        if let Some((index, stop)) = hits.rev().max_by_key(|(_, stop)| stop.len()) {
            return (prefix[..prefix.len() - stop.len()].to_owned(), Some(index));
        }
    }
    (text.to_owned(), None)
}

fn run(strings: &[String], pieces: &[String]) -> (String, Option<usize>) {
    let mut stops = StopStrings::new(strings.to_vec());
    let longest = strings.iter().map(String::len).max().unwrap_or(0);
    let (mut out, mut hit, mut pushed) = (String::new(), None, 0);
    for piece in pieces {
        let now = stops.push(piece, &mut out);
        assert!(hit.is_none() || now == hit, "a hit stays");
        hit = now;
        pushed += piece.len();
        assert!(hit.is_some() || pushed - out.len() < longest.max(1), "more is held back than one string needs");
    }
    stops.finish(&mut out);
    (out, hit)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_stops_where_a_search_does(
        strings in prop::collection::vec("[ab\u{e9}\u{e8}]{0,5}", 0..5),
        pieces in prop::collection::vec("[ab\u{e9}\u{e8}]{0,6}", 0..10),
    ) {
        let expected = reference(&strings, &pieces.concat());
        prop_assert_eq!(run(&strings, &pieces), expected.clone());
        let single: Vec<String> = pieces.concat().chars().map(String::from).collect();
        prop_assert_eq!(run(&strings, &single), expected);
    }
}

fn owned(strings: &[&str]) -> Vec<String> {
    strings.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn examples() {
    let check = |strings: &[&str], pieces: &[&str], out: &str, hit: Option<usize>| {
        assert_eq!(run(&owned(strings), &owned(pieces)), (out.to_owned(), hit), "{strings:?}");
    };
    check(&["", "END"], &["a E", "N", "D b", "c"], "a ", Some(1));
    check(&["END"], &["a EN"], "a EN", None);
    check(&["aab"], &["aa", "aab"], "aa", Some(0));
    // The one that ends first, even if a longer one has begun before it.
    check(&["bcd", "abcde"], &["abcde"], "a", Some(0));
    check(&["b", "ab"], &["xab"], "x", Some(1));
    check(&[], &["x", ""], "x", None);
}

#[test]
fn text_that_cannot_be_a_beginning_is_not_held_back() {
    let mut stops = StopStrings::new(owned(&["\n\nUser:"]));
    let mut out = String::new();
    assert_eq!(stops.push("a\n\nb\n", &mut out), None);
    assert_eq!(out, "a\n\nb");
}
