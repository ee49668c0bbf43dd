//! All users at one moment, and where the present ones are kept.

use super::log::Log;
use super::user::User;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tells a user from all others, also from one of the same name that came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserId(NonZeroU32);

impl UserId {
    pub const fn new(number: u32) -> UserId {
        UserId(NonZeroU32::new(number).expect("users' ids begin at 1"))
    }
}

/// The name of the user of clients that do not say who they are; it is always there.
const DEFAULT: &[u8] = b"default";

/// All users at one moment.
#[derive(Debug, Clone)]
pub struct Users {
    /// Of two, the later one has the higher number.
    version: u64,
    next_id: u32,
    default: Arc<User>,
    /// In the order of the names, which is that of all lists of users.
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    by_id: HashMap<UserId, Arc<User>, ahash::RandomState>,
}

impl Default for Users {
    fn default() -> Users {
        let default = Arc::new(User::unrestricted(UserId::new(1), DEFAULT));
        let mut users = Users {
            version: 0,
            next_id: 2,
            default: default.clone(),
            by_name: BTreeMap::new(),
            by_id: HashMap::default(),
        };
        users.put(default);
        users
    }
}

impl Users {
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    pub fn by_name(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    pub fn by_id(&self, id: UserId) -> Option<&Arc<User>> {
        self.by_id.get(&id)
    }

    /// By name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.by_name.values()
    }

    /// Whether a new client must log in before it may do anything.
    pub fn ask_for_password(&self) -> bool {
        !self.default.needs_no_password() || !self.default.is_enabled()
    }

    fn put(&mut self, user: Arc<User>) {
        if *user.name == *DEFAULT {
            self.default = user.clone();
        }
        if let Some(before) = self.by_name.insert(user.name.clone(), user.clone()) {
            self.by_id.remove(&before.id);
        }
        self.by_id.insert(user.id, user);
    }

    /// The user of this name as it is, or as a new one begins. It is not among the users yet.
    pub fn draft(&mut self, name: &[u8], all_channels: bool) -> User {
        match self.by_name.get(name) {
            Some(user) => User::clone(user),
            None => {
                let id = UserId::new(self.next_id);
                self.next_id += 1;
                User::new(id, name, all_channels)
            }
        }
    }

    /// Puts a user in the place of the one of its name, or adds it.
    pub fn set(&mut self, user: User) {
        self.put(Arc::new(user));
    }

    /// `false` when there is none of this name. The default user stays.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        if name == DEFAULT {
            return false;
        }
        let user = self.by_name.remove(name);
        user.is_some_and(|user| self.by_id.remove(&user.id).is_some())
    }

    /// Only the default user, as it is in the beginning; of those that follow none is one of before.
    pub fn begin_anew(&self) -> Users {
        let mut users = Users { next_id: self.next_id, ..Users::default() };
        users.version = self.version;
        users
    }
}

/// The users, and what was denied to them.
#[derive(Debug, Default)]
pub struct Acl {
    users: Mutex<Arc<Users>>,
    log: Mutex<Log>,
}

impl Acl {
    /// The users as they are now. Shards keep what they got when they were last told of a change.
    pub fn users(&self) -> Arc<Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes a copy of the users and puts it in their place, unless the change fails.
    pub fn change<T, E>(&self, change: impl FnOnce(&mut Users) -> Result<T, E>) -> Result<T, E> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Users::clone(&users);
        let result = change(&mut next)?;
        next.version = users.version + 1;
        *users = Arc::new(next);
        Ok(result)
    }

    /// Gives the default user this password alone, or none.
    pub fn set_default_password(&self, password: Option<&[u8]>) {
        let set = |users: &mut Users| -> Result<(), std::convert::Infallible> {
            let mut user = User::clone(&users.default);
            user.set_password(password);
            users.set(user);
            Ok(())
        };
        match self.change(set) {
            Ok(()) => {}
        }
    }

    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_the_same_name_is_another_one_after_it_was_removed() {
        let acl = Acl::default();
        let add = |name: &[u8]| {
            let added: Result<UserId, ()> = acl.change(|users| {
                let user = users.draft(name, false);
                let id = user.id;
                users.set(user);
                Ok(id)
            });
            added.unwrap()
        };
        let first = add(b"ann");
        assert_eq!(add(b"ann"), first);
        let removed: Result<bool, ()> = acl.change(|users| Ok(users.remove(b"ann")));
        assert!(removed.unwrap());
        assert_ne!(add(b"ann"), first);
        let users = acl.users();
        assert!(users.by_id(first).is_none() && users.by_name(b"ann").is_some());
        assert_eq!(
            users.iter().map(|user| &user.name[..]).collect::<Vec<_>>(),
            [&b"ann"[..], b"default"]
        );
        assert_eq!(users.version(), 4);
    }

    #[test]
    fn the_default_user_stays() {
        let acl = Acl::default();
        assert!(!acl.users().ask_for_password());
        acl.set_default_password(Some(b"secret"));
        let users = acl.users();
        assert!(users.ask_for_password() && users.default_user().is_unrestricted());
        let failed: Result<(), ()> = acl.change(|users| {
            assert!(!users.remove(b"default"));
            Err(())
        });
        failed.unwrap_err();
        assert_eq!(acl.users().version(), 1);
        assert!(!acl.users().begin_anew().ask_for_password());
    }
}
