//! A radix tree over tokens: keys that begin alike share their beginning.

use crate::TokenId;
use std::collections::HashMap;

/// A node that holds a value. It stays the same until the value is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(usize);

struct Node<V> {
    parent: usize,
    /// Tokens between the parent and here.
    edge: Vec<TokenId>,
    /// Tokens from the root to here.
    length: usize,
    value: Option<V>,
    /// By the first token of their edge.
    children: HashMap<TokenId, usize>,
}

/// The tree. Every node but the root has a value or at least two children.
pub struct Radix<V> {
    nodes: Vec<Node<V>>,
    free: Vec<usize>,
    values: usize,
}

const ROOT: usize = 0;

impl<V> Default for Radix<V> {
    fn default() -> Self {
        let root = Node { parent: ROOT, edge: Vec::new(), length: 0, value: None, children: HashMap::new() };
        Self { nodes: vec![root], free: Vec::new(), values: 0 }
    }
}

fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl<V> Radix<V> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.values
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values == 0
    }

    fn add(&mut self, node: Node<V>) -> usize {
        match self.free.pop() {
            Some(at) => {
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    /// Puts `value` at `key`, and gives back what was there.
    pub fn insert(&mut self, key: &[TokenId], value: V) -> (Place, Option<V>) {
        let at = self.make(key);
        let before = self.nodes[at].value.replace(value);
        self.values += usize::from(before.is_none());
        (Place(at), before)
    }

    /// The node of `key`, made if need be.
    fn make(&mut self, key: &[TokenId]) -> usize {
        let mut at = ROOT;
        loop {
            let done = self.nodes[at].length;
            let rest = &key[done..];
            let Some(first) = rest.first() else { return at };
            let Some(&child) = self.nodes[at].children.get(first) else {
                let leaf =
                    Node { parent: at, edge: rest.to_vec(), length: key.len(), value: None, children: HashMap::new() };
                let leaf = self.add(leaf);
                self.nodes[at].children.insert(*first, leaf);
                return leaf;
            };
            let shared = common(&self.nodes[child].edge, rest);
            if shared < self.nodes[child].edge.len() {
                self.split(child, shared);
                at = self.nodes[child].parent;
            } else {
                at = child;
            }
        }
    }

    /// Puts a node between `child` and its parent, `shared` tokens below the parent.
    fn split(&mut self, child: usize, shared: usize) {
        let parent = self.nodes[child].parent;
        let below = self.nodes[child].edge.split_off(shared);
        let edge = std::mem::replace(&mut self.nodes[child].edge, below);
        let (first, below) = (edge[0], self.nodes[child].edge[0]);
        let length = self.nodes[parent].length + shared;
        let middle = Node { parent, edge, length, value: None, children: HashMap::from([(below, child)]) };
        let middle = self.add(middle);
        self.nodes[child].parent = middle;
        self.nodes[parent].children.insert(first, middle);
    }

    /// The values whose keys begin `tokens`, with the lengths of the keys, the shortest first.
    pub fn along(&self, tokens: &[TokenId]) -> Vec<(usize, Place)> {
        let (mut at, mut found) = (ROOT, Vec::new());
        loop {
            let node = &self.nodes[at];
            if node.value.is_some() {
                found.push((node.length, Place(at)));
            }
            let rest = &tokens[node.length..];
            let Some(child) = rest.first().and_then(|first| node.children.get(first)) else { return found };
            if !rest.starts_with(&self.nodes[*child].edge) {
                return found;
            }
            at = *child;
        }
    }

    /// Where the value of exactly this key is.
    pub fn place(&self, key: &[TokenId]) -> Option<Place> {
        self.along(key).last().filter(|(length, _)| *length == key.len()).map(|(_, place)| *place)
    }

    /// Whether a key, this or a longer one, begins with `tokens`.
    pub fn continues(&self, tokens: &[TokenId]) -> bool {
        let mut at = ROOT;
        loop {
            let rest = &tokens[self.nodes[at].length.min(tokens.len())..];
            let Some(first) = rest.first() else { return self.values > 0 };
            let Some(&child) = self.nodes[at].children.get(first) else { return false };
            let edge = &self.nodes[child].edge;
            if common(edge, rest) < edge.len().min(rest.len()) {
                return false;
            }
            at = child;
        }
    }

    /// A value.
    pub fn get(&self, place: Place) -> Option<&V> {
        self.nodes.get(place.0)?.value.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut V> {
        self.nodes.get_mut(place.0)?.value.as_mut()
    }

    /// Keys that go different ways after this one.
    pub fn branches(&self, place: Place) -> usize {
        self.nodes.get(place.0).map_or(0, |node| node.children.len())
    }

    /// Tokens of the key of a value.
    pub fn length(&self, place: Place) -> usize {
        self.nodes.get(place.0).map_or(0, |node| node.length)
    }

    /// The longest key with a value that this key continues.
    pub fn above(&self, place: Place) -> Option<Place> {
        let mut at = self.nodes.get(place.0)?.parent;
        while at != ROOT && self.nodes[at].value.is_none() {
            at = self.nodes[at].parent;
        }
        self.nodes[at].value.is_some().then_some(Place(at)).filter(|above| *above != place)
    }

    /// The key of a value.
    pub fn key(&self, place: Place) -> Vec<TokenId> {
        let (mut at, mut edges) = (place.0, Vec::new());
        while at != ROOT {
            edges.push(self.nodes[at].edge.as_slice());
            at = self.nodes[at].parent;
        }
        edges.into_iter().rev().flatten().copied().collect()
    }

    /// All values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &V)> {
        self.nodes.iter().enumerate().filter_map(|(at, node)| Some((Place(at), node.value.as_ref()?)))
    }

    /// Takes a value out.
    pub fn remove(&mut self, place: Place) -> Option<V> {
        let value = self.nodes.get_mut(place.0)?.value.take()?;
        self.values -= 1;
        self.tidy(place.0);
        Some(value)
    }

    /// Removes a node that holds nothing any more, or joins it with its only child.
    fn tidy(&mut self, at: usize) {
        if at == ROOT || self.nodes[at].value.is_some() {
            return;
        }
        let parent = self.nodes[at].parent;
        let Some(&first) = self.nodes[at].edge.first() else { return };
        let mut children = self.nodes[at].children.values().copied();
        match (children.next(), children.next()) {
            (None, _) => {
                self.nodes[parent].children.remove(&first);
                self.drop_node(at);
                self.tidy(parent);
            }
            (Some(child), None) => {
                let mut edge = std::mem::take(&mut self.nodes[at].edge);
                edge.append(&mut self.nodes[child].edge);
                self.nodes[child].edge = edge;
                self.nodes[child].parent = parent;
                self.nodes[parent].children.insert(first, child);
                self.drop_node(at);
            }
            _ => {}
        }
    }

    fn drop_node(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        (node.edge, node.children) = (Vec::new(), HashMap::new());
        self.free.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn check<V>(tree: &Radix<V>) {
        for (at, node) in tree.nodes.iter().enumerate().filter(|(at, _)| !tree.free.contains(at)) {
            assert!(at == ROOT || node.value.is_some() || node.children.len() > 1);
            for (first, child) in &node.children {
                let child = &tree.nodes[*child];
                assert_eq!((child.parent, child.edge[0]), (at, *first));
                assert_eq!(child.length, node.length + child.edge.len());
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_that_finds_prefixes(
            steps in prop::collection::vec((any::<bool>(), prop::collection::vec(0u32..3, 0..8)), 1..60),
            sought in prop::collection::vec(0u32..3, 0..10),
        ) {
            let (mut tree, mut map) = (Radix::default(), BTreeMap::new());
            let mut places = BTreeMap::new();
            for (i, (inserts, key)) in steps.into_iter().enumerate() {
                if inserts {
                    let (place, before) = tree.insert(&key, i);
                    prop_assert_eq!(before, map.insert(key.clone(), i));
                    places.insert(key, place);
                } else if let Some(place) = places.remove(&key) {
                    prop_assert_eq!(tree.remove(place), map.remove(&key));
                }
                check(&tree);
            }
            prop_assert_eq!(tree.len(), map.len());
            for (key, value) in &map {
                prop_assert_eq!(tree.place(key), Some(places[key]));
                prop_assert_eq!(tree.get(places[key]), Some(value));
                prop_assert_eq!(&tree.key(places[key]), key);
            }
            let along: Vec<usize> = tree.along(&sought).iter().map(|(length, _)| *length).collect();
            let expected: Vec<usize> = map.keys().filter(|key| sought.starts_with(key)).map(Vec::len).collect();
            prop_assert_eq!(along, expected);
            prop_assert_eq!(tree.continues(&sought), map.keys().any(|key| key.starts_with(&sought)));
        }
    }
}
