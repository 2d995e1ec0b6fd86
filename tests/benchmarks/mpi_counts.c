/* Counts what a program sends by MPI. size.py compiles it, and loads it before the MPI library (LD_PRELOAD).
 *
 * A call is counted under its kind and the bytes that this rank gives: of a message, of what is reduced or gathered, of
 * the parts for other ranks of an exchange. What the library sends in order to do so is not seen. */
#ifndef MPI /* else: the functions, included twice below, as those of large counts have other types */
#include <mpi.h>
#include <stdint.h>
#include <string.h>

static struct entry { char kind[24]; long long bytes, count; } entries[8192];
static struct { uintptr_t request; long long bytes; } later[16384]; /* persistent requests: -1 for those that receive */
static int used, kept;

const struct entry *mpi_counts(int *n) { *n = used; return entries; }

static long long size(MPI_Datatype t) { int n = 0; if (t != MPI_DATATYPE_NULL) PMPI_Type_size(t, &n); return n; }
static int ranks(MPI_Comm c) { int n; PMPI_Comm_size(c, &n); return n; }
static int rank(MPI_Comm c) { int n; PMPI_Comm_rank(c, &n); return n; }

static void add(const char *kind, long long bytes)
{
    int i = 0;
    while (i < used && (entries[i].bytes != bytes || strcmp(entries[i].kind, kind))) i++;
    if (i == 8192) PMPI_Abort(MPI_COMM_WORLD, 1);
    if (i == used) { strncpy(entries[i].kind, kind, 23); entries[i].bytes = bytes; entries[used++].count = 0; }
    entries[i].count++;
}

static void count(const char *kind, MPI_Comm c, long long bytes) { if (ranks(c) > 1) add(kind, bytes); }

static void remember(MPI_Request request, long long bytes)
{
    int i = 0;
    while (i < kept && later[i].request != (uintptr_t)request) i++;
    if (i == 16384) PMPI_Abort(MPI_COMM_WORLD, 1);
    kept += i == kept;
    later[i].request = (uintptr_t)request;
    later[i].bytes = bytes;
}

static void started(MPI_Request request)
{
    for (int i = 0; i < kept; i++)
        if (later[i].request == (uintptr_t)request && later[i].bytes >= 0) add("message", later[i].bytes);
}

int MPI_Start(MPI_Request *r) { started(*r); return PMPI_Start(r); }
int MPI_Startall(int n, MPI_Request r[]) { for (int i = 0; i < n; i++) started(r[i]); return PMPI_Startall(n, r); }
int MPI_Barrier(MPI_Comm c) { count("barrier", c, 0); return PMPI_Barrier(c); }

#define MPI(f) MPI_##f
#define PMPI(f) PMPI_##f
#define OTHERS others
#define N int
#define D int
#include __FILE__
#undef MPI
#undef PMPI
#undef OTHERS
#undef N
#undef D
#define MPI(f) MPI_##f##_c
#define PMPI(f) PMPI_##f##_c
#define OTHERS others_c
#define N MPI_Count
#define D MPI_Aint
#include __FILE__

#else
#define ONE const void *b, N n, MPI_Datatype t
#define EACH const void *b, const N n[], const D at[], MPI_Datatype t
#define TO int to, int tag, MPI_Comm c
#define TAKE void *o, N m, MPI_Datatype u
#define TAKE_EACH void *o, const N m[], const D from[], MPI_Datatype u

static long long OTHERS(const N n[], MPI_Datatype t, MPI_Comm c)
{
    long long sum = 0;
    for (int i = 0; i < ranks(c); i++) sum += i == rank(c) ? 0 : n[i];
    return sum * size(t);
}

int MPI(Send)(ONE, TO) { count("message", c, n * size(t)); return PMPI(Send)(b, n, t, to, tag, c); }
int MPI(Ssend)(ONE, TO) { count("message", c, n * size(t)); return PMPI(Ssend)(b, n, t, to, tag, c); }
int MPI(Isend)(ONE, TO, MPI_Request *r)
{ count("message", c, n * size(t)); return PMPI(Isend)(b, n, t, to, tag, c, r); }
int MPI(Issend)(ONE, TO, MPI_Request *r)
{ count("message", c, n * size(t)); return PMPI(Issend)(b, n, t, to, tag, c, r); }
int MPI(Send_init)(ONE, TO, MPI_Request *r)
{ int e = PMPI(Send_init)(b, n, t, to, tag, c, r); remember(*r, n * size(t)); return e; }
int MPI(Recv_init)(void *o, N n, MPI_Datatype t, TO, MPI_Request *r)
{ int e = PMPI(Recv_init)(o, n, t, to, tag, c, r); remember(*r, -1); return e; }
int MPI(Sendrecv)(ONE, int to, int tag, TAKE, int root, int other, MPI_Comm c, MPI_Status *s)
{ count("message", c, n * size(t)); return PMPI(Sendrecv)(b, n, t, to, tag, o, m, u, root, other, c, s); }

int MPI(Allreduce)(const void *b, void *o, N n, MPI_Datatype t, MPI_Op op, MPI_Comm c)
{ count("allreduce", c, n * size(t)); return PMPI(Allreduce)(b, o, n, t, op, c); }
int MPI(Iallreduce)(const void *b, void *o, N n, MPI_Datatype t, MPI_Op op, MPI_Comm c, MPI_Request *r)
{ count("allreduce", c, n * size(t)); return PMPI(Iallreduce)(b, o, n, t, op, c, r); }
int MPI(Reduce)(const void *b, void *o, N n, MPI_Datatype t, MPI_Op op, int root, MPI_Comm c)
{ count("reduce", c, n * size(t)); return PMPI(Reduce)(b, o, n, t, op, root, c); }
int MPI(Bcast)(void *b, N n, MPI_Datatype t, int root, MPI_Comm c)
{ count("bcast", c, n * size(t)); return PMPI(Bcast)(b, n, t, root, c); }
int MPI(Allgather)(ONE, TAKE, MPI_Comm c)
{ count("allgather", c, b == MPI_IN_PLACE ? m * size(u) : n * size(t)); return PMPI(Allgather)(b, n, t, o, m, u, c); }
int MPI(Allgatherv)(ONE, TAKE_EACH, MPI_Comm c)
{ count("allgather", c, n * size(t)); return PMPI(Allgatherv)(b, n, t, o, m, from, u, c); }
int MPI(Gather)(ONE, TAKE, int root, MPI_Comm c)
{ count("gather", c, n * size(t)); return PMPI(Gather)(b, n, t, o, m, u, root, c); }
int MPI(Gatherv)(ONE, TAKE_EACH, int root, MPI_Comm c)
{ count("gather", c, n * size(t)); return PMPI(Gatherv)(b, n, t, o, m, from, u, root, c); }
int MPI(Scatter)(ONE, TAKE, int root, MPI_Comm c)
{ count("scatter", c, m * size(u)); return PMPI(Scatter)(b, n, t, o, m, u, root, c); }
int MPI(Scatterv)(EACH, TAKE, int root, MPI_Comm c)
{ count("scatter", c, m * size(u)); return PMPI(Scatterv)(b, n, at, t, o, m, u, root, c); }
int MPI(Alltoall)(ONE, TAKE, MPI_Comm c)
{ count("alltoall", c, (ranks(c) - 1) * n * size(t)); return PMPI(Alltoall)(b, n, t, o, m, u, c); }
int MPI(Alltoallv)(EACH, TAKE_EACH, MPI_Comm c)
{ count("alltoall", c, OTHERS(n, t, c)); return PMPI(Alltoallv)(b, n, at, t, o, m, from, u, c); }
#endif
