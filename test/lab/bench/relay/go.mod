module waybill/bench/relay

go 1.24
