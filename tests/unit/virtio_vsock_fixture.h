/* SPDX-License-Identifier: Apache-2.0 */
/* A vsock device with a driver that behaves, and the sandbox's side of its sockets. */
#ifndef VIRTIO_VSOCK_FIXTURE_H
#define VIRTIO_VSOCK_FIXTURE_H

#include <check.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/guest.h"
#include "tests/unit/virtio_driver.h"
#include "virtio/vsock.h"

#define CID 77u
#define QSIZE 32u
#define RX_LEN 4096u
#define RX_DATA DRV_DATA /* one buffer per descriptor of the receive queue */
#define TX_DATA (DRV_DATA + 0x80000)
#define CREDIT 65536u

extern struct drv d;
extern struct sockaddr_un addr;
extern int control;	 /* our end of host port 1 */
extern int control_type; /* of its socket; a test's setup may say SOCK_SEQPACKET before it calls setup() */

void post_rx(unsigned int n);
void guest_up(void);
void setup(void);
void teardown(void);
struct vsock_packet packet(uint16_t op, uint32_t guest_port, uint32_t host_port);
void tx(struct vsock_packet p, const void *data, uint32_t len);
struct vsock_packet rx(void *data, uint32_t size);
void expect(uint16_t op, uint32_t guest_port, uint32_t host_port);
void expect_nothing(void);
void open_control(uint32_t guest_port);
struct vsock_packet on_control(uint16_t op);
/* A client of the socket for streams, or of that for messages. */
int dial(const char *line);
int dial_seq(const char *line);
bool has_input(struct drv *drv, void *arg);
void expect_read(int fd, const char *want);
void expect_eof(int fd);
uint32_t open_from_host(int *fd, uint32_t port);

#endif
