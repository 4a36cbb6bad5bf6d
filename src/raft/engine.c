#include "engine.h"

#include <raft.h>
#include <stdlib.h>
#include <string.h>

struct skiff_engine {
  struct raft raft;
  uint64_t now;
  struct raft_entry* entries; /* given to the last step */
  struct skiff_entry* out_entries;
  struct skiff_message* out_messages;
  struct raft_snapshot_metadata installing;
  bool has_installing;
};

skiff_engine* skiff_engine_new(uint64_t id, const char* address, unsigned seed,
                               unsigned election_ms, unsigned heartbeat_ms) {
  skiff_engine* e = calloc(1, sizeof *e);
  if (e == NULL) abort();
  if (raft_init(&e->raft, NULL, NULL, id, address) != 0) abort();
  e->raft.tracer = NULL; /* it would format every message */
  raft_seed(&e->raft, seed);
  raft_set_heartbeat_timeout(&e->raft, heartbeat_ms);
  raft_set_election_timeout(&e->raft, election_ms);
  raft_set_pre_vote(&e->raft, true);
  raft_set_max_inflight_entries(&e->raft, 64);
  /* The caller sends until one is in place. Asking again in between, the core would move the mark
   * that a snapshot has to reach, and one that takes longer than that would never do. */
  raft_set_install_snapshot_timeout(&e->raft, 24U * 3600 * 1000);
  raft_set_max_catch_up_rounds(&e->raft, 20);
  raft_set_max_catch_up_round_duration(&e->raft, 60000);
  return e;
}

static void release_scratch(skiff_engine* e) {
  free(e->entries);
  free(e->out_entries);
  free(e->out_messages);
  e->entries = NULL;
  e->out_entries = NULL;
  e->out_messages = NULL;
}

void skiff_engine_free(skiff_engine* e) {
  if (e == NULL) return;
  release_scratch(e);
  if (e->has_installing) raft_configuration_close(&e->installing.configuration);
  raft_close(&e->raft, NULL);
  free(e);
}

/* The core frees the first entry's batch when it does not want the entries, and leaves it to us
 * when it does. The bytes themselves always are the caller's: the batch is a token. */
static struct raft_entry* to_raft(skiff_engine* e, const struct skiff_entry* entries, unsigned n) {
  if (n == 0) return NULL;
  e->entries = calloc(n, sizeof *e->entries);
  if (e->entries == NULL) abort();
  void* token = raft_malloc(1);
  if (token == NULL) abort();
  for (unsigned i = 0; i < n; ++i) {
    e->entries[i].term = entries[i].term;
    e->entries[i].type = (enum raft_entry_type)entries[i].kind;
    e->entries[i].buf.base = (void*)entries[i].data;
    e->entries[i].buf.len = entries[i].size;
    e->entries[i].batch = token;
  }
  return e->entries;
}

static void copy_message(const struct raft_message* m, struct skiff_message* out) {
  memset(out, 0, sizeof *out);
  out->type = (uint8_t)m->type;
  out->peer = m->server_id;
  switch (m->type) {
    case RAFT_APPEND_ENTRIES:
      out->version = m->append_entries.version;
      out->term = m->append_entries.term;
      out->index = m->append_entries.prev_log_index;
      out->log_term = m->append_entries.prev_log_term;
      out->commit = m->append_entries.leader_commit;
      out->n_entries = m->append_entries.n_entries;
      break;
    case RAFT_APPEND_ENTRIES_RESULT:
      out->version = m->append_entries_result.version;
      out->term = m->append_entries_result.term;
      out->rejected = m->append_entries_result.rejected;
      out->index = m->append_entries_result.last_log_index;
      out->features = m->append_entries_result.features;
      out->capacity = m->append_entries_result.capacity;
      break;
    case RAFT_REQUEST_VOTE:
      out->version = 2;
      out->term = m->request_vote.term;
      out->index = m->request_vote.last_log_index;
      out->log_term = m->request_vote.last_log_term;
      out->disrupt = m->request_vote.disrupt_leader;
      out->pre_vote = m->request_vote.pre_vote;
      break;
    case RAFT_REQUEST_VOTE_RESULT:
      out->version = m->request_vote_result.version;
      out->term = m->request_vote_result.term;
      out->granted = m->request_vote_result.vote_granted;
      out->pre_vote = m->request_vote_result.pre_vote;
      out->features = m->request_vote_result.features;
      out->capacity = m->request_vote_result.capacity;
      break;
    case RAFT_INSTALL_SNAPSHOT:
      out->version = m->install_snapshot.version;
      out->term = m->install_snapshot.term;
      out->index = m->install_snapshot.last_index;
      out->log_term = m->install_snapshot.last_term;
      out->servers_index = m->install_snapshot.conf_index;
      break;
    case RAFT_TIMEOUT_NOW:
      out->version = m->timeout_now.version;
      out->term = m->timeout_now.term;
      out->index = m->timeout_now.last_log_index;
      out->log_term = m->timeout_now.last_log_term;
      break;
  }
}

/* The core lets the only voter lead without an election, and so in the term it has. It may have led
 * in that term before it was started again, and standbys may have entries of then that its own disk
 * never had: it would write others of the same term and index, and nobody could tell them apart.
 * Each leadership has a term of its own. */
static void lead_anew(skiff_engine* e, struct raft_update* update, struct skiff_update* out) {
  ++e->raft.current_term;
  e->raft.voted_for = e->raft.id;
  out->hard_state = true;
  update->flags &= ~(unsigned)RAFT_UPDATE_MESSAGES; /* of the old term; heartbeats follow */
}

static int step(skiff_engine* e, uint64_t now, struct raft_event* event, struct skiff_update* out) {
  struct raft_update update;
  memset(&update, 0, sizeof update);
  memset(out, 0, sizeof *out);
  if (now > e->now) e->now = now;
  event->time = e->now;
  event->capacity = UINT16_MAX;
  const bool followed = e->raft.state != RAFT_CANDIDATE && e->raft.state != RAFT_LEADER;
  int rv = raft_step(&e->raft, event, &update);
  /* A failed step may have changed the term, and what it wants persisted must be all the same. */
  out->hard_state = (update.flags & (RAFT_UPDATE_CURRENT_TERM)) != 0 ||
                    (update.flags & (RAFT_UPDATE_VOTED_FOR)) != 0;
  out->state = (update.flags & (RAFT_UPDATE_STATE)) != 0;
  out->commit = (update.flags & (RAFT_UPDATE_COMMIT_INDEX)) != 0;
  if (rv != 0) return rv;
  if (followed && e->raft.state == RAFT_LEADER) lead_anew(e, &update, out);
  if ((update.flags & (RAFT_UPDATE_ENTRIES)) != 0) {
    out->first = update.entries.index;
    out->n_entries = update.entries.n;
    out->entries = e->out_entries = calloc(update.entries.n, sizeof *e->out_entries);
    if (out->entries == NULL) abort();
    for (unsigned i = 0; i < update.entries.n; ++i) {
      out->entries[i].term = update.entries.batch[i].term;
      out->entries[i].kind = (uint8_t)update.entries.batch[i].type;
      if (&update.entries.batch[i] == &e->raft.barrier) continue; /* made by the core; no bytes */
      out->entries[i].data = update.entries.batch[i].buf.base;
      out->entries[i].size = update.entries.batch[i].buf.len;
    }
    raft_free(update.entries.batch[0].batch);
  }
  if ((update.flags & (RAFT_UPDATE_SNAPSHOT)) != 0) {
    out->snapshot = true;
    e->installing = update.snapshot.metadata;
    e->has_installing = true;
    raft_free(update.snapshot.chunk.base);
  }
  if ((update.flags & (RAFT_UPDATE_MESSAGES)) != 0 && update.messages.n > 0) {
    out->n_messages = update.messages.n;
    out->messages = e->out_messages = calloc(update.messages.n, sizeof *e->out_messages);
    if (out->messages == NULL) abort();
    for (unsigned i = 0; i < update.messages.n; ++i) {
      copy_message(&update.messages.batch[i], &out->messages[i]);
    }
  }
  return 0;
}

int skiff_engine_start(skiff_engine* e, uint64_t now, const struct skiff_start* start,
                       struct skiff_update* out) {
  struct raft_event event;
  struct raft_snapshot_metadata metadata;
  memset(&event, 0, sizeof event);
  release_scratch(e);
  event.type = RAFT_START;
  event.start.term = start->term;
  event.start.voted_for = start->vote;
  if (start->snapshot_index != 0) {
    struct raft_buffer buffer = {(void*)start->servers, start->servers_size};
    memset(&metadata, 0, sizeof metadata);
    metadata.index = start->snapshot_index;
    metadata.term = start->snapshot_term;
    metadata.configuration_index = start->servers_index;
    int rv = raft_configuration_decode(&buffer, &metadata.configuration);
    if (rv != 0) return rv;
    event.start.metadata = &metadata;
  }
  event.start.start_index = start->first;
  event.start.entries = to_raft(e, start->entries, start->n_entries);
  event.start.n_entries = start->n_entries;
  void* token = start->n_entries > 0 ? e->entries[0].batch : NULL;
  int rv = step(e, now, &event, out);
  if (rv == 0) raft_free(token); /* the core does not keep entries */
  return rv;
}

static uint64_t matched(const skiff_engine* e, uint64_t id) {
  raft_index index = 0;
  if (raft_match_index(&e->raft, id, &index) != 0) return 0;
  return index;
}

/* Whether the core may see an APPEND: what it would otherwise assert. */
static bool append_makes_sense(const skiff_engine* e, const struct skiff_message* m) {
  if (e->raft.state == RAFT_LEADER && m->term <= e->raft.current_term) {
    /* An older leader is answered by the core; a second one of this term cannot be. */
    if (m->term == e->raft.current_term) return false;
  }
  if ((m->index == 0) != (m->log_term == 0) || m->log_term > m->term) return false;
  uint64_t term = m->log_term;
  for (uint32_t i = 0; i < m->n_entries; ++i) {
    const struct skiff_entry* entry = &m->entries[i];
    if (entry->term == 0 || entry->term < term || entry->term > m->term) return false;
    if (entry->kind < RAFT_COMMAND || entry->kind > RAFT_CHANGE) return false;
    /* The core files a configuration under the first index of the message. */
    if (i > 0 && entry->kind == RAFT_CHANGE) return false;
    term = entry->term;
  }
  return true;
}

static int check(const skiff_engine* e, const struct skiff_message* m) {
  const struct raft* r = &e->raft;
  if (m->peer == 0 || m->peer == r->id || m->term == 0 || m->address == NULL) return SKIFF_REFUSED;
  switch (m->type) {
    case SKIFF_APPEND:
      return append_makes_sense(e, m) ? 0 : SKIFF_REFUSED;
    case SKIFF_APPEND_RESULT:
      if (r->state == RAFT_LEADER && m->rejected > 0 && m->term == r->current_term) {
        const uint64_t last = m->index < m->rejected ? m->index : m->rejected - 1;
        if (last < matched(e, m->peer)) return SKIFF_LOST;
      }
      return 0;
    case SKIFF_VOTE:
      return 0;
    case SKIFF_VOTE_RESULT: /* the core reads candidate state before it looks at the state */
      if (r->state != RAFT_CANDIDATE) return SKIFF_REFUSED;
      if (r->candidate_state.in_pre_vote && m->granted && m->term > r->current_term + 1) {
        return SKIFF_REFUSED;
      }
      return 0;
    case SKIFF_SNAPSHOT:
      if (m->index == 0 || m->log_term == 0 || m->servers_index > m->index) return SKIFF_REFUSED;
      if (r->state == RAFT_LEADER && m->term == r->current_term) return SKIFF_REFUSED;
      return r->snapshot.installing ? SKIFF_REFUSED : 0;
    case SKIFF_TIMEOUT_NOW:
      return 0;
    default:
      return SKIFF_REFUSED;
  }
}

static int fill(skiff_engine* e, const struct skiff_message* m, struct raft_message* out) {
  memset(out, 0, sizeof *out);
  out->type = (enum raft_message_type)m->type;
  out->server_id = m->peer;
  out->server_address = m->address;
  switch (m->type) {
    case SKIFF_APPEND:
      out->append_entries.version = m->version;
      out->append_entries.term = m->term;
      out->append_entries.prev_log_index = m->index;
      out->append_entries.prev_log_term = m->log_term;
      out->append_entries.leader_commit = m->commit;
      out->append_entries.entries = to_raft(e, m->entries, m->n_entries);
      out->append_entries.n_entries = m->n_entries;
      return 0;
    case SKIFF_APPEND_RESULT:
      out->append_entries_result.version = m->version;
      out->append_entries_result.term = m->term;
      out->append_entries_result.rejected = m->rejected;
      out->append_entries_result.last_log_index = m->index;
      out->append_entries_result.features = m->features;
      out->append_entries_result.capacity = m->capacity;
      return 0;
    case SKIFF_VOTE:
      out->request_vote.version = m->version;
      out->request_vote.term = m->term;
      out->request_vote.candidate_id = m->peer;
      out->request_vote.last_log_index = m->index;
      out->request_vote.last_log_term = m->log_term;
      out->request_vote.disrupt_leader = m->disrupt;
      out->request_vote.pre_vote = m->pre_vote;
      return 0;
    case SKIFF_VOTE_RESULT:
      out->request_vote_result.version = m->version;
      out->request_vote_result.term = m->term;
      out->request_vote_result.vote_granted = m->granted;
      out->request_vote_result.pre_vote = m->pre_vote;
      out->request_vote_result.features = m->features;
      out->request_vote_result.capacity = m->capacity;
      return 0;
    case SKIFF_SNAPSHOT: {
      struct raft_buffer buffer = {(void*)m->servers, m->servers_size};
      out->install_snapshot.version = m->version;
      out->install_snapshot.term = m->term;
      out->install_snapshot.last_index = m->index;
      out->install_snapshot.last_term = m->log_term;
      out->install_snapshot.conf_index = m->servers_index;
      out->install_snapshot.data.base = raft_malloc(1);
      out->install_snapshot.data.len = 1;
      return raft_configuration_decode(&buffer, &out->install_snapshot.conf);
    }
    default:
      out->timeout_now.version = m->version;
      out->timeout_now.term = m->term;
      out->timeout_now.last_log_index = m->index;
      out->timeout_now.last_log_term = m->log_term;
      return 0;
  }
}

static struct raft_server* own_place(skiff_engine* e) {
  struct raft_configuration* c = &e->raft.configuration;
  for (unsigned i = 0; i < c->n; ++i) {
    if (c->servers[i].id == e->raft.id) return &c->servers[i];
  }
  return NULL;
}

/* Whose votes count the candidate knows (dissertation, 4.1: votes are granted without looking into
 * one's own list of servers). A standby may have been promoted by an entry that it has not received
 * yet, and its vote may be the one that is missing; the core would refuse it. */
static int vote(skiff_engine* e, uint64_t now, struct raft_event* event, struct skiff_update* out) {
  struct raft_server* own = own_place(e);
  const int role = own == NULL ? RAFT_VOTER : own->role;
  if (role != RAFT_VOTER) own->role = RAFT_VOTER;
  const int rv = step(e, now, event, out);
  if (role != RAFT_VOTER) own->role = role; /* a vote does not change the list */
  /* The core answers a pre-vote with the term it was asked for, a refusal, too. Whoever asks for
   * one that is over would go on doing so: it must hear of the newer one. */
  for (uint32_t i = 0; i < out->n_messages; ++i) {
    struct skiff_message* answer = &out->messages[i];
    if (answer->type != SKIFF_VOTE_RESULT || !answer->pre_vote || answer->granted) continue;
    if (answer->term < e->raft.current_term) answer->term = e->raft.current_term;
  }
  return rv;
}

/* An APPEND may begin with entries that were forgotten here since, because the leader was never
 * told that they had come. The core would take them for new or, without any, say that it lacks
 * them: the leader could do neither without them nor with them. What was forgotten is committed, so
 * the leader of this or a later term has the same; what is new in the message begins behind it. */
static bool leave_out_forgotten(const skiff_engine* e, struct skiff_message* m) {
  const struct raft_trail* trail = &e->raft.trail;
  if (m->index > trail->offset || m->index >= trail->snapshot.index) return true;
  if (e->raft.snapshot.installing || m->term < e->raft.current_term) { /* it takes no entries */
    return m->index == trail->offset || m->n_entries == 0;
  }
  const uint64_t known = trail->snapshot.index - m->index;
  if (m->n_entries >= known && m->entries[known - 1].term != trail->snapshot.term) return false;
  const uint32_t left = m->n_entries > known ? m->n_entries - (uint32_t)known : 0;
  m->entries += m->n_entries - left;
  m->n_entries = left;
  m->index = trail->snapshot.index;
  m->log_term = trail->snapshot.term;
  /* Nothing is known of what this server has behind them. */
  if (m->commit > m->index + left) m->commit = m->index + left;
  return true;
}

int skiff_engine_receive(skiff_engine* e, uint64_t now, const struct skiff_message* received,
                         struct skiff_update* out) {
  struct skiff_message whole = *received;
  struct skiff_message* message = &whole;
  memset(out, 0, sizeof *out);
  int rv = check(e, message);
  if (rv != 0) return rv;
  if (message->type == SKIFF_APPEND && !leave_out_forgotten(e, message)) return SKIFF_REFUSED;
  release_scratch(e);
  struct raft_event event;
  struct raft_message m;
  memset(&event, 0, sizeof event);
  rv = fill(e, message, &m);
  if (rv != 0) return rv;
  event.type = RAFT_RECEIVE;
  event.receive.message = &m;
  return message->type == SKIFF_VOTE ? vote(e, now, &event, out) : step(e, now, &event, out);
}

int skiff_engine_persisted(skiff_engine* e, uint64_t now, uint64_t index,
                           struct skiff_update* out) {
  struct raft* r = &e->raft;
  memset(out, 0, sizeof *out);
  /* Entries that were replaced while they were written are of no interest. */
  if (r->state == RAFT_CANDIDATE || r->snapshot.installing || index <= r->last_stored ||
      index > raft_last_index(r)) {
    return 0;
  }
  struct raft_event event;
  memset(&event, 0, sizeof event);
  release_scratch(e);
  event.type = RAFT_PERSISTED_ENTRIES;
  event.persisted_entries.index = index;
  return step(e, now, &event, out);
}

int skiff_engine_snapshot_persisted(skiff_engine* e, uint64_t now, struct skiff_update* out) {
  memset(out, 0, sizeof *out);
  if (!e->has_installing) return SKIFF_REFUSED;
  struct raft_event event;
  memset(&event, 0, sizeof event);
  release_scratch(e);
  event.type = RAFT_PERSISTED_SNAPSHOT;
  event.persisted_snapshot.metadata = e->installing;
  event.persisted_snapshot.last = true;
  e->has_installing = false;
  return step(e, now, &event, out);
}

int skiff_engine_servers_committed(skiff_engine* e, uint64_t now, uint64_t index,
                                   const void* servers, size_t size, struct skiff_update* out) {
  struct raft_buffer buffer = {(void*)servers, size};
  struct raft_event event;
  memset(&event, 0, sizeof event);
  memset(out, 0, sizeof *out);
  release_scratch(e);
  event.type = RAFT_CONFIGURATION;
  event.configuration.index = index;
  int rv = raft_configuration_decode(&buffer, &event.configuration.conf);
  if (rv != 0) return rv;
  return step(e, now, &event, out);
}

int skiff_engine_snapshot(skiff_engine* e, uint64_t now, uint64_t index, unsigned trailing,
                          struct skiff_update* out) {
  struct raft* r = &e->raft;
  struct raft_event event;
  memset(&event, 0, sizeof event);
  memset(out, 0, sizeof *out);
  if (index <= r->trail.snapshot.index || index > r->last_stored || r->snapshot.installing) {
    return SKIFF_REFUSED;
  }
  release_scratch(e);
  event.type = RAFT_SNAPSHOT;
  event.snapshot.metadata.index = index;
  event.snapshot.metadata.configuration_index = r->configuration_committed_index;
  event.snapshot.trailing = trailing;
  raft_configuration_init(&event.snapshot.metadata.configuration);
  return step(e, now, &event, out);
}

int skiff_engine_timeout(skiff_engine* e, uint64_t now, struct skiff_update* out) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  release_scratch(e);
  event.type = RAFT_TIMEOUT;
  const uint64_t heard = e->raft.election_timer_start;
  const int rv = step(e, now, &event, out);
  /* A standby that hears nothing calls no election: its timer begins again. But neither is there a
   * leader any more, for the sake of whom it would refuse its vote. */
  const struct raft_server* own = own_place(e);
  if (rv == 0 && e->raft.state == RAFT_FOLLOWER && own != NULL && own->role != RAFT_VOTER &&
      e->raft.election_timer_start != heard) {
    e->raft.follower_state.current_leader.id = 0;
  }
  return rv;
}

int skiff_engine_submit(skiff_engine* e, uint64_t now, const struct skiff_entry* entry,
                        struct skiff_update* out) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  release_scratch(e);
  event.type = RAFT_SUBMIT;
  event.submit.entries = to_raft(e, entry, 1);
  event.submit.n = 1;
  void* token = e->entries[0].batch;
  int rv = step(e, now, &event, out);
  if (rv != 0) raft_free(token);
  return rv;
}

int skiff_engine_catch_up(skiff_engine* e, uint64_t now, uint64_t id, struct skiff_update* out) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  memset(out, 0, sizeof *out);
  const int state = skiff_engine_catch_up_state(e, id);
  if (state < 0 || id == e->raft.id) return SKIFF_REFUSED;
  if (state == 1 || e->raft.leader_state.promotee_id != 0) return SKIFF_CONFLICT;
  release_scratch(e);
  event.type = RAFT_CATCH_UP;
  event.catch_up.server_id = id;
  return step(e, now, &event, out);
}

int skiff_engine_transfer(skiff_engine* e, uint64_t now, uint64_t id, struct skiff_update* out) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  release_scratch(e);
  event.type = RAFT_TRANSFER;
  event.transfer.server_id = id;
  return step(e, now, &event, out);
}

int skiff_engine_state(const skiff_engine* e) { return (int)e->raft.state; }
uint64_t skiff_engine_term(const skiff_engine* e) { return e->raft.current_term; }
uint64_t skiff_engine_vote(const skiff_engine* e) { return e->raft.voted_for; }
uint64_t skiff_engine_commit(const skiff_engine* e) { return e->raft.commit_index; }
uint64_t skiff_engine_last(const skiff_engine* e) {
  return raft_last_index((struct raft*)&e->raft);
}
uint64_t skiff_engine_stored(const skiff_engine* e) { return e->raft.last_stored; }
uint64_t skiff_engine_first(const skiff_engine* e) { return e->raft.trail.offset + 1; }
uint64_t skiff_engine_snapshot_index(const skiff_engine* e) { return e->raft.trail.snapshot.index; }
uint64_t skiff_engine_leader(const skiff_engine* e) {
  raft_id id = 0;
  const char* address = NULL;
  raft_leader((struct raft*)&e->raft, &id, &address);
  return id;
}
uint64_t skiff_engine_next_timeout(const skiff_engine* e) { return raft_timeout(&e->raft); }
uint64_t skiff_engine_matched(const skiff_engine* e, uint64_t id) { return matched(e, id); }
uint64_t skiff_engine_transferee(const skiff_engine* e) { return raft_transferee(&e->raft); }
int skiff_engine_catch_up_state(const skiff_engine* e, uint64_t id) {
  int status = 0;
  if (raft_catch_up(&e->raft, id, &status) != 0) return -1;
  return status;
}
bool skiff_engine_change_pending(const skiff_engine* e) {
  return e->raft.configuration_uncommitted_index != 0 ||
         (e->raft.state == RAFT_LEADER && e->raft.leader_state.promotee_id != 0);
}

static void server_at(const struct raft_configuration* c, unsigned i, uint64_t* id,
                      const char** address, int* role) {
  *id = c->servers[i].id;
  *address = c->servers[i].address;
  *role = c->servers[i].role;
}
unsigned skiff_engine_n_servers(const skiff_engine* e) { return e->raft.configuration.n; }
void skiff_engine_server(const skiff_engine* e, unsigned i, uint64_t* id, const char** address,
                         int* role) {
  server_at(&e->raft.configuration, i, id, address, role);
}
unsigned skiff_engine_n_committed(const skiff_engine* e) {
  return e->raft.configuration_committed.n;
}
void skiff_engine_committed_server(const skiff_engine* e, unsigned i, uint64_t* id,
                                   const char** address, int* role) {
  server_at(&e->raft.configuration_committed, i, id, address, role);
}
uint64_t skiff_engine_servers_index(const skiff_engine* e) {
  return e->raft.configuration_committed_index;
}
const char* skiff_engine_error(int code) {
  if (code == SKIFF_REFUSED) return "the message makes no sense here";
  if (code == SKIFF_LOST) return "it lost entries that it had acknowledged";
  return raft_strerror(code);
}
