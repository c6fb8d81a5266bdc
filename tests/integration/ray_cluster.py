"""Starts a Ray cluster of two nodes on this machine and prints its address.

A line on standard input, `node` or `head`, takes that away, as when a machine is switched off; the
end of standard input ends the cluster.
"""

import sys

from ray.cluster_utils import Cluster

SIZE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={**SIZE, "include_dashboard": False})
    node = cluster.add_node(**SIZE)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    if word := sys.stdin.readline().strip():
        lost = {"node": node, "head": cluster.head_node}[word]
        cluster.remove_node(lost, allow_graceful=False)
        print("removed", flush=True)
        sys.stdin.read()
    cluster.shutdown()
