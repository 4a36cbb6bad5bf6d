/* libraft's core as plain data. Its own header is C only (anonymous structs within sizeof), so this
 * is the one file that sees it. The core checks its invariants with assert() and so would end the
 * process on a message that breaks them: what comes from outside is checked here first. */
#ifndef SKIFF_RAFT_ENGINE_H
#define SKIFF_RAFT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct skiff_engine skiff_engine;

enum { SKIFF_FOLLOWER = 1, SKIFF_CANDIDATE = 2, SKIFF_LEADER = 3 };
enum {
  SKIFF_APPEND = 1,
  SKIFF_APPEND_RESULT = 2,
  SKIFF_VOTE = 3,
  SKIFF_VOTE_RESULT = 4,
  SKIFF_SNAPSHOT = 5,
  SKIFF_TIMEOUT_NOW = 6
};
/* What a step answers besides 0 and the library's own codes. */
enum {
  SKIFF_REFUSED = -1,  /* the message makes no sense here */
  SKIFF_LOST = -2,     /* the peer no longer has entries that it had acknowledged */
  SKIFF_CONFLICT = 11, /* RAFT_CANTCHANGE */
  SKIFF_NOT_LEADER = 7 /* RAFT_NOTLEADER */
};

struct skiff_entry {
  uint64_t term;
  uint8_t kind; /* 1 records, 2 barrier, 3 servers */
  const void* data;
  size_t size;
};

struct skiff_message {
  uint8_t type;
  uint8_t version;
  bool disrupt;  /* VOTE */
  bool pre_vote; /* VOTE, VOTE_RESULT */
  bool granted;  /* VOTE_RESULT */
  uint16_t features, capacity;
  uint64_t peer; /* sender or receiver */
  uint64_t term;
  uint64_t index;    /* APPEND: before the entries. Others: last */
  uint64_t log_term; /* of that index */
  uint64_t commit;   /* APPEND */
  uint64_t rejected; /* APPEND_RESULT */
  uint64_t servers_index;
  uint32_t n_entries;                /* APPEND. Outgoing: how many from index + 1 on */
  const struct skiff_entry* entries; /* incoming only */
  const void* servers;               /* SNAPSHOT, incoming only; checked by the caller */
  size_t servers_size;
  const char* address; /* incoming: of the sender, never null */
};

struct skiff_update {
  bool hard_state; /* term or vote: to be durable before any message from now on is sent */
  bool state;
  bool commit;
  uint64_t first; /* entries to persist begin here; 0: none */
  uint32_t n_entries;
  struct skiff_entry* entries; /* these two until the next step */
  bool snapshot;               /* the one received is to be put in place */
  uint32_t n_messages;
  struct skiff_message* messages;
};

struct skiff_start {
  uint64_t term, vote;
  uint64_t snapshot_index, snapshot_term, servers_index; /* index 0: none */
  const void* servers;
  size_t servers_size;
  uint64_t first;
  uint32_t n_entries;
  const struct skiff_entry* entries;
};

skiff_engine* skiff_engine_new(uint64_t id, const char* address, unsigned seed,
                               unsigned election_ms, unsigned heartbeat_ms);
void skiff_engine_free(skiff_engine* e);

/* Each is one step at `now` (milliseconds, never going back). */
int skiff_engine_start(skiff_engine* e, uint64_t now, const struct skiff_start* start,
                       struct skiff_update* out);
int skiff_engine_receive(skiff_engine* e, uint64_t now, const struct skiff_message* message,
                         struct skiff_update* out);
int skiff_engine_persisted(skiff_engine* e, uint64_t now, uint64_t index, struct skiff_update* out);
int skiff_engine_snapshot_persisted(skiff_engine* e, uint64_t now, struct skiff_update* out);
int skiff_engine_servers_committed(skiff_engine* e, uint64_t now, uint64_t index,
                                   const void* servers, size_t size, struct skiff_update* out);
/* Entries up to `index` are in a snapshot; all but the last `trailing` of them are forgotten. */
int skiff_engine_snapshot(skiff_engine* e, uint64_t now, uint64_t index, unsigned trailing,
                          struct skiff_update* out);
int skiff_engine_timeout(skiff_engine* e, uint64_t now, struct skiff_update* out);
int skiff_engine_submit(skiff_engine* e, uint64_t now, const struct skiff_entry* entry,
                        struct skiff_update* out);
int skiff_engine_catch_up(skiff_engine* e, uint64_t now, uint64_t id, struct skiff_update* out);
int skiff_engine_transfer(skiff_engine* e, uint64_t now, uint64_t id, struct skiff_update* out);

int skiff_engine_state(const skiff_engine* e);
uint64_t skiff_engine_term(const skiff_engine* e);
uint64_t skiff_engine_vote(const skiff_engine* e);
uint64_t skiff_engine_commit(const skiff_engine* e);
uint64_t skiff_engine_last(const skiff_engine* e);
uint64_t skiff_engine_stored(const skiff_engine* e);
uint64_t skiff_engine_first(const skiff_engine* e); /* of the entries it knows */
uint64_t skiff_engine_snapshot_index(const skiff_engine* e);
uint64_t skiff_engine_leader(const skiff_engine* e);
uint64_t skiff_engine_next_timeout(const skiff_engine* e);
uint64_t skiff_engine_matched(const skiff_engine* e, uint64_t id); /* leader; else 0 */
uint64_t skiff_engine_transferee(const skiff_engine* e);
/* 0 never asked, 1 running, 2 given up, 3 done; -1: not leader or no such server */
int skiff_engine_catch_up_state(const skiff_engine* e, uint64_t id);
bool skiff_engine_change_pending(const skiff_engine* e);
/* The configuration in force and the last one known to be committed, with where it stands. */
unsigned skiff_engine_n_servers(const skiff_engine* e);
void skiff_engine_server(const skiff_engine* e, unsigned i, uint64_t* id, const char** address,
                         int* role);
unsigned skiff_engine_n_committed(const skiff_engine* e);
void skiff_engine_committed_server(const skiff_engine* e, unsigned i, uint64_t* id,
                                   const char** address, int* role);
uint64_t skiff_engine_servers_index(const skiff_engine* e);
const char* skiff_engine_error(int code);

#ifdef __cplusplus
}
#endif
#endif
